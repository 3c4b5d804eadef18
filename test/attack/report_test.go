// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func sample() *Report {
	return &Report{
		Results: []Result{
			{Who: "a pod", Way: "dial", Outcome: RefusedByNetwork, Why: "the policy"},
			{Who: "a pod", Way: "dial a|b", Outcome: GotNothing, Why: "nobody listens"},
			{Who: "the node", Way: "dial", Outcome: ReadIt, Why: "it is the node", Reported: "nothing"},
		},
		Mutations: []Mutation{{Changed: "no policy", Who: "a pod", Way: "dial", Outcome: ReadIt}},
	}
}

func TestReportIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "attack.json")
	if err := sample().Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sample()) {
		t.Fatalf("got %+v", got)
	}
}

func TestReportRefusesWhatIsNoOutcome(t *testing.T) {
	f := func(name string, r *Report, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "attack.json")
			if err := r.Write(path); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadReport(path); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v", err)
			}
		})
	}
	f("an outcome of its own", &Report{Results: []Result{{Who: "a", Way: "b", Outcome: "escaped"}}}, "no outcome")
	f("no results at all", &Report{}, "no results")
}

func TestMarkdownIsWhatTheResultsSay(t *testing.T) {
	want := `3 attempts: 1 refused by the network, 1 got nothing, 1 READ IT.

| who | tries to | outcome | why | reported by |
|---|---|---|---|---|
| a pod | dial | refused by the network | the policy |  |
|  | dial a\|b | got nothing | nobody listens |  |
| the node | dial | **READ IT** | it is the node | nothing |

That these attempts can succeed, and that the test sees it, is part of the same run: a protection is taken away
or added, and the attempt is made again.

| where | who | tries to | outcome |
|---|---|---|---|
| no policy | a pod | dial | **READ IT** |
`
	if got := sample().Markdown(); got != want {
		t.Fatalf("got\n%s", got)
	}
}

func TestEmbedReplacesWhatStandsBetweenTheMarks(t *testing.T) {
	document := "before\n" + markBegin + "old\n" + markEnd + "after\n"
	once, err := sample().Embed(document)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(once, "old") || !strings.HasPrefix(once, "before\n") || !strings.HasSuffix(once, "after\n") {
		t.Fatalf("got\n%s", once)
	}
	if twice, err := sample().Embed(once); err != nil || twice != once {
		t.Fatalf("a second time changes it: %v\n%s", err, twice)
	}
	for _, bad := range []string{"no marks\n", markEnd + markBegin, markBegin} {
		if _, err := sample().Embed(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWorse(t *testing.T) {
	if !ReadIt.Worse(ClosedByEngine) || !ClosedByEngine.Worse(GotNothing) || RefusedByAdmission.Worse(RefusedByAdmission) {
		t.Fatal("the order of the outcomes is another")
	}
}
