#!/bin/sh
# The whole way on data that the project generates itself; `make demo` runs it.
set -eu
DEMO="${DEMO:-build/demo}"
rm -rf "$DEMO"

echo "== Generate sample data for all four tasks"
routewright data synth all --num 1600 --seed 7 --out "$DEMO/data"

echo "== Train all four tasks jointly, evaluate on the test split, export to int8"
routewright train recipes/demo.yaml --set data_dir="$DEMO/data" --out "$DEMO/run"

echo "== Evaluate the exported bundle on one task, with intervals"
routewright evaluate "$DEMO/run/bundle" --task jailbreak --data "$DEMO/data/jailbreak/test.jsonl"

echo "== Classify a handful of prompts: one pass, four answers"
routewright classify --bundle "$DEMO/run/bundle" --file examples/prompts.txt

echo "== Bundle: $DEMO/run/bundle"

echo "== Two model servers, the gateway and Envoy: prompts of every kind through the whole way"
python examples/demo_gateway.py --bundle "$DEMO/run/bundle" --work "$DEMO"
