#!/usr/bin/env bash
# Finds every fuzz target in the tree and runs each for the given time beyond its seeds. A target that fails does not
# keep the others from running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fuzztime=${1:-30s}
count=0
failed=()
while IFS=: read -r file _ line; do
  target=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/' <<<"$line")
  package=./$(dirname "$file")
  echo "--- fuzz $target in $package for $fuzztime"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1s \
    -parallel "$(nproc)" "$package" || failed+=("$target in $package")
  count=$((count + 1))
done < <(grep -rnE '^func Fuzz[A-Za-z0-9_]+\(' --include='*_test.go' -- * | sort)
[ "$count" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$count fuzz targets ran for $fuzztime each, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ] || { printf '  %s\n' "${failed[@]}" >&2; exit 1; }
