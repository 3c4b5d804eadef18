#!/usr/bin/env bash
# Runs every lane of `make test`, goes on after a failed one, and ends with what ran, how long it took and
# what did not run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

started=$SECONDS
failed=0
ran=0
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
  ran=$((ran + 1))
  report+=("$(printf '%-11s %-6s %3d min %02d s   make %s' \
    "$name" "$result" $(((SECONDS - t0) / 60)) $(((SECONDS - t0) % 60)) "$target")")
}

# finish prints the summary and leaves no cluster behind that this run brought up.
finish() {
  printf '\n==> Lanes (%d min %02d s in all)\n' \
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
lane fuzz test-fuzz FUZZTIME=15s
lane memory test-memory
lane image test-image
lane cluster cluster-up
lane demo demo
lane e2e test-e2e
lane helm test-helm
lane attack test-attack
lane gitops test-gitops MEMKEEP_GITOPS_QUIET=1m
# The other flavour of network needs the one development cluster for itself.
if [ -n "$was_up" ] || [ -n "${KEEP_CLUSTER:-}" ]; then
  report+=("unenforced  did not run: the cluster stays up. make cluster-down && make test-unenforced && make cluster-down")
elif [ "${CLUSTER:-dev}" != dev ]; then
  lane down cluster-down
  report+=("unenforced  did not run: CLUSTER=$CLUSTER has the network that it has")
else
  lane down cluster-down
  lane unenforced test-unenforced
  lane down cluster-down
fi
finish
[ "$failed" = 0 ] || { echo "==> $failed of $ran lanes failed"; exit 1; }
echo "==> all $ran lanes that ran passed"
