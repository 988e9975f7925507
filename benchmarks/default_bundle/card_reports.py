"""Write what a bundle reaches on the test split into the bundle and its model card.

    python -m benchmarks.default_bundle.card_reports --bundle src/routewright/bundles/default

For the bundle that ships, whose export by ``make bundle`` reads no test split. It reads the
test rows of the shared data, which are read once for a bundle: run it beside `quality`, for a
bundle that was chosen before.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.default_bundle.records import FILES, new_parser

from routewright.config import write_text
from routewright.data.config import DataSpec
from routewright.evaluate import evaluate, load_examples, open_target, view_of, with_origin
from routewright.export.bundle_export import attach_reports


def attach_test_reports(bundle: Path, data: Path) -> None:
    """Score every task of `FILES` and renew the card with the reports."""
    target = open_target(bundle)
    with TemporaryDirectory() as folder:
        for task, pattern in FILES.items():
            path = pattern.format("test")
            view = view_of(target.classifier, task)
            examples = load_examples(DataSpec(path=path), view, root=data)
            report = with_origin(evaluate(target.classifier, task, examples), target, path)
            content = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
            write_text(Path(folder) / f"{task}.test.json", content + "\n")
        attach_reports(bundle, Path(folder))


def main() -> None:
    args = new_parser(__doc__).parse_args()
    attach_test_reports(args.bundle, args.data)


if __name__ == "__main__":
    main()
