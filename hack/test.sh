#!/usr/bin/env bash
# Runs every lane of `make test`, goes on after a failed one, and ends with what ran, how long it took and
# what did not run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

started=$SECONDS
failed=0
report=()

# lane NAME TARGET [VAR=VALUE...]: runs one make target as a lane.
lane() {
  local name=$1 target=$2 t0=$SECONDS result=passed
  shift 2
  printf '\n==> %s: make %s   (%d min %02d s since the start)\n' \
    "$name" "$target" $(((t0 - started) / 60)) $(((t0 - started) % 60))
  if ! make --no-print-directory "$target" "$@"; then
    result=FAILED
    failed=$((failed + 1))
  fi
  report+=("$(printf '%-11s %-6s %3d min %02d s   make %s' \
    "$name" "$result" $(((SECONDS - t0) / 60)) $(((SECONDS - t0) % 60)) "$target")")
}

# finish prints the summary and leaves no cluster behind that this run brought up.
finish() {
  printf '\n==> Lanes that ran (%d min %02d s in all)\n' \
    $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
  printf '  %s\n' "${report[@]}"
  echo "==> Long lanes, not part of this run: make soak, make bench, make scale, make test-arm64, make build-arm64,"
  echo "    make test-gitops with its five minutes of quiet; the lane gitops has one"
}

hack/requirements.sh || exit 1
# On a machine as the README asks for, with the development cluster, no test has a reason to leave itself out.
[ "${CLUSTER:-dev}" != dev ] || export MEMKEEP_NO_SKIP=1
# A cluster that is up is used and kept; else this run makes one of two nodes and removes it.
was_up=
if hack/cluster/status.sh >/dev/null 2>&1; then was_up=1; else export NODES=${NODES:-2}; fi

lane deps test-deps
lane generated verify-generated
lane lint lint
lane unit test-unit
lane chart test-chart
lane race test-race
lane clients test-clients
lane conformance test-conformance
lane fuzz test-fuzz
lane memory test-memory
lane image test-image
lane cluster cluster-up
lane demo demo
lane e2e test-e2e
lane helm test-helm
lane attack test-attack
lane gitops test-gitops MEMKEEP_GITOPS_QUIET=1m
if [ -z "$was_up" ] && [ -z "${KEEP_CLUSTER:-}" ]; then lane down cluster-down; fi
finish
[ "$failed" = 0 ] || { echo "==> $failed of ${#report[@]} lanes failed"; exit 1; }
echo "==> all ${#report[@]} lanes passed"
