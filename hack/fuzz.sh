#!/usr/bin/env bash
# Finds every fuzz target in the tree and runs each for the given time beyond its seeds. A target that fails does not
# keep the others from running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fuzztime=${1:-30s}
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# fuzz TARGET PACKAGE: runs one target.
fuzz() {
  go test -run '^$' -fuzz "^$1\$" -fuzztime "$fuzztime" -fuzzminimizetime 1s -parallel "$(nproc)" "$2" | tee "$output"
}

# late tells whether the last run failed for nothing but its own end: before Go 1.27 the fuzzing engine takes the end of
# its time for a failure where that comes at a bad moment (https://go.dev/issue/75804).
late() {
  [ "$(grep -c -- '--- FAIL' "$output")" = 1 ] && ! grep -q 'Failing input\|failure while testing seed' "$output" &&
    grep -A1 -- '^--- FAIL' "$output" | grep -qx '    context deadline exceeded'
}

count=0
failed=()
while IFS=: read -r file _ line; do
  target=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/' <<<"$line")
  package=./$(dirname "$file")
  echo "--- fuzz $target in $package for $fuzztime"
  if ! fuzz "$target" "$package"; then
    late && echo "--- again: the engine took the end of its time for a failure" && fuzz "$target" "$package" ||
      failed+=("$target in $package")
  fi
  count=$((count + 1))
done < <(grep -rnE '^func Fuzz[A-Za-z0-9_]+\(' --include='*_test.go' -- * | sort)
[ "$count" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$count fuzz targets ran for $fuzztime each, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ] || { printf '  %s\n' "${failed[@]}" >&2; exit 1; }
