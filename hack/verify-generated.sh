#!/usr/bin/env bash
# Fails, and says what to run, when a generated file is not what its sources give.
# Nothing in the tree is touched: the generators run in a copy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for part in go.mod go.sum VERSION api cache-server charts cmd config controllers docs hack; do
  cp -a "$part" "$copy/"
done
"$copy/hack/generate.sh"

stale=0
for part in api charts config docs/api.md; do
  diff -ruN "$part" "$copy/$part" || stale=1
done
if [ "$stale" = 1 ]; then
  echo "verify-generated: generated files are not current: run 'make generate' and commit the result" >&2
  exit 1
fi
echo "verify-generated: generated files are current"
