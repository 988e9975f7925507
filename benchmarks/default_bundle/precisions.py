"""What does int8 lose against fp32, and what does calibration gain?

    python -m benchmarks.default_bundle.precisions --bundle RUN/bundle --readme

For a bundle with both graphs, as `routewright train` writes it into its run; the one that ships
has the int8 graph alone. Differences are int8 minus fp32 in points of the main metric, with
paired bootstrap intervals over rows. ``validation`` also fitted the
calibration.
"""

from time import perf_counter

from benchmarks.default_bundle.quality import measure
from benchmarks.default_bundle.quality_tables import loss_rows, precision_table
from benchmarks.default_bundle.records import FILES, SPLITS, Record, markdown, new_parser


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    args = parser.parse_args()
    args.tasks = list(FILES)
    record = Record("precisions", (__doc__ or "").splitlines()[0], args, perf_counter())
    results = measure(args)
    if "int8_minus_fp32" not in results:
        parser.error(f"{args.bundle}: needs an int8 and an fp32 graph; give a run's own bundle")
    head = ("task", "metric", "value (95 % interval)", "floor", "aim", "reached")
    parts = [
        f"Split: {args.split}.\n",
        markdown(head, loss_rows(results), left=2),
        precision_table(results),
    ]
    record.write(results, "\n".join(parts))


if __name__ == "__main__":
    main()
