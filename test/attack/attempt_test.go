// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

const (
	// dialTimeout is how long an attacker's dial waits for an answer.
	dialTimeout = 1500 * time.Millisecond
	// openLimit is how long a way that is open may take to open: a policy, a
	// Service's address or a label must reach every node first.
	openLimit = 30 * time.Second
	// reportLimit is how long a report of what widens access may take.
	reportLimit = 30 * time.Second
	// unreportedLimit is how long one is waited for that is not expected.
	unreportedLimit = 3 * time.Second
)

// finding is what an attempt came to, and what was seen.
type finding struct {
	outcome Outcome
	saw     string
}

// attempt is one attacker's one way.
type attempt struct {
	who, way string
	// want is the outcome that must be.
	want Outcome
	// why says what stops it, or why nothing does.
	why string
	// reported says what tells the fleet's owner.
	reported string
	// try makes the attempt. want is what the caller hopes to see: a way that is
	// to be open is given time to open.
	try func(t *testing.T, want Outcome) finding
	// report looks for what is reported; nil where there is nothing to report.
	report func(t *testing.T, limit time.Duration) string
}

// results are what the attempts came to, by their place in the table.
type results struct {
	sync.Mutex
	found map[string]Result
}

// run makes the attempt and notes what it came to.
func (a *attempt) run(t *testing.T, notes *results) {
	t.Helper()
	got := a.try(t, a.want)
	t.Logf("%s: %s", got.outcome, got.saw)
	if got.outcome != a.want {
		t.Errorf("%s\ntries to %s:\n%s, and the table says %s\n%s", a.who, a.way, got.outcome, a.want, got.saw)
	}
	reported := ""
	if a.report != nil {
		want, limit := a.reported, reportLimit
		if !widenedIsJudged && strings.Contains(want, memkeepv1alpha1.ConditionAccessWidened) {
			want, limit = "", unreportedLimit
		}
		if reported = a.report(t, limit); reported != want {
			t.Errorf("%s\ntries to %s:\nreported by %q, and it should be by %q", a.who, a.way, reported, want)
		}
	}
	notes.Lock()
	defer notes.Unlock()
	notes.found[a.who+a.way] = Result{Who: a.who, Way: a.way, Outcome: got.outcome, Why: a.why, Reported: reported}
}

// worst is the finding that is worst for the fleet.
func worst(findings []finding) finding {
	return slices.MaxFunc(findings, func(a, b finding) int {
		switch {
		case a.outcome.Worse(b.outcome):
			return 1
		case b.outcome.Worse(a.outcome):
			return -1
		}
		return 0
	})
}

// until repeats look where want is that the way is open, until it is.
func until(want Outcome, look func() finding) finding {
	deadline := time.Now().Add(openLimit)
	for {
		got := look()
		if want != ReadIt || got.outcome == ReadIt || time.Now().After(deadline) {
			return got
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// dialer runs the dialer in a pod and returns what it came to and what it showed.
func dialer(t *testing.T, from harness.Pod, args ...string) (dialing.Outcome, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	code, err := cluster.Exec(ctx, from, nil, &out, append([]string{"/dialer"}, args...)...)
	if err != nil || code == dialing.ExitUsage {
		// This may not be the test's own goroutine.
		t.Errorf("run the dialer with %q in %s: exit code %d, %v", args, from, code, err)
		return dialing.Failed, ""
	}
	return dialing.FromExitCode(code), out.String()
}

// ask asks for the catchphrase over TCP.
func ask(t *testing.T, from harness.Pod, addr string, flags ...string) finding {
	t.Helper()
	args := append([]string{"talk", "--timeout", dialTimeout.String()}, flags...)
	o, said := dialer(t, from, append(args, addr, "get catchphrase")...)
	return judge(o, fmt.Sprintf("%s asks %s: %s, %s", from, addr, o, strings.Join(strings.Fields(said), " ")))
}

// judge turns what a dial came to into an outcome. Only silence passes for the
// network's refusal: whoever is told that nobody listens got through.
func judge(o dialing.Outcome, saw string) finding {
	switch {
	case strings.Contains(saw, catchphrase), strings.Contains(saw, "DECOY"):
		return finding{ReadIt, saw}
	case o == dialing.TimedOut, o == dialing.Unreachable:
		return finding{RefusedByNetwork, saw}
	case o == dialing.Closed, o == dialing.Reset:
		return finding{ClosedByEngine, saw}
	}
	return finding{GotNothing, saw}
}

// everywhere asks at every address from every pod, side by side. Each pod must
// reach the decoys: of one whose network is broken, silence proves nothing.
func everywhere(t *testing.T, from []harness.Pod, addrs []string, flags ...string) finding {
	t.Helper()
	for _, pod := range from {
		for node, decoy := range players.decoys {
			if o, said := dialer(t, pod, "talk", "--timeout", "5s", decoy, "version"); o != dialing.Connected {
				t.Fatalf("nothing is proven: %s does not reach the decoy on %s: %s %s", pod, node, o, said)
			}
		}
	}
	found := make([]finding, len(from)*len(addrs))
	var wg sync.WaitGroup
	for i, pod := range from {
		for j, addr := range addrs {
			wg.Go(func() { found[i*len(addrs)+j] = ask(t, pod, addr, flags...) })
		}
	}
	wg.Wait()
	return worst(found)
}

// values are the pods of a cast, in the order of their nodes.
func values(pods map[string]harness.Pod) []harness.Pod {
	var all []harness.Pod
	for _, node := range players.nodes {
		all = append(all, pods[node])
	}
	return all
}

// create has an attacker create an object. A finding other than nil is the end of
// the attempt; otherwise the object is deleted with the test.
func create(t *testing.T, as *harness.Cluster, obj client.Object) *finding {
	t.Helper()
	err := as.Create(t.Context(), obj)
	if f := refused(t, err); f != nil {
		return f
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(cluster.Delete(context.Background(), obj)); err != nil {
			t.Error(err)
		}
	})
	return nil
}

// refused is the finding that an error of the API server is; nil for no error.
// That a right is missing is a mistake of the test.
func refused(t *testing.T, err error) *finding {
	t.Helper()
	switch {
	case err == nil:
		return nil
	case apierrors.IsAlreadyExists(err):
		return &finding{GotNothing, err.Error()}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "violates PodSecurity"),
		strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		return &finding{RefusedByAdmission, err.Error()}
	}
	t.Fatalf("the attacker cannot even try: %v", err)
	return nil
}

// What AccessWidened says where it is judged.
const (
	widenedByPolicy  = "`AccessWidened` names the NetworkPolicy"
	widenedBySlice   = "`AccessWidened` names the EndpointSlice"
	widenedElsewhere = "`AccessWidened` names the Service in another namespace"
)

// widenedIsJudged tells whether the operator judges effective access at all:
// fleets have the condition then, whatever it says.
var widenedIsJudged bool

// widenedFromElsewhere looks for a Service whose name the fleet's status keeps to itself.
func (g *ground) widenedFromElsewhere(t *testing.T, limit time.Duration) string {
	t.Helper()
	return g.widened(t, limit, "Service", "in another namespace")
}

// widened looks for a condition AccessWidened that names an object, in the words of the table.
func (g *ground) widened(t *testing.T, limit time.Duration, kind, name string) string {
	t.Helper()
	found := ""
	_, err := cluster.Eventually(t.Context(), "a report of "+kind+" "+name, limit, func(ctx context.Context) error {
		mc := &memkeepv1alpha1.Memcache{}
		if err := cluster.Get(ctx, g.key, mc); err != nil {
			return err
		}
		if mc.Status.Access == nil {
			return fmt.Errorf("status.access is empty")
		}
		for _, w := range mc.Status.Access.WidenedBy {
			if w.Kind == kind && w.Name == name {
				if found = "`AccessWidened` names the " + kind; strings.Contains(name, " ") {
					found += " " + name
				}
				return nil
			}
		}
		return fmt.Errorf("status.access.widenedBy is %+v", mc.Status.Access.WidenedBy)
	})
	if err != nil {
		t.Log(err)
	}
	return found
}

// podOf is a pod of the attacker's in a namespace, with labels and arguments of the dialer.
func podOf(namespace, name string, labels map[string]string, args ...string) *corev1.Pod {
	return cluster.PodOf(harness.DialerPod{Namespace: namespace, Name: name, Labels: labels, Args: args})
}
