// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func plain() *v1alpha1.Memcache {
	return &v1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{
			Name: "sessions", Namespace: "caches", UID: "1b7b0c5e",
			Labels: map[string]string{"app": "shop"}, Annotations: map[string]string{"team": "web"},
		},
		Spec: v1alpha1.MemcacheSpec{Memory: resource.MustParse("1Gi")},
	}
}

func full() *v1alpha1.Memcache {
	m := plain()
	m.Spec.Replicas = new(int32(3))
	m.Spec.CPU = new(resource.MustParse("0.5"))
	m.Spec.Engine = v1alpha1.EngineSpec{
		MaxItemSize: new(resource.MustParse("2Mi")), MaxConnections: new(int32(4096)),
		AdminCommands: []v1alpha1.AdminCommand{v1alpha1.AdminStatsReset, v1alpha1.AdminFlushAll},
	}
	m.Spec.Placement = v1alpha1.PlacementSpec{
		NodeSelector: map[string]v1alpha1.LabelValue{"pool": "caches"},
		Tolerations: []v1alpha1.Toleration{{
			Key: "caches", Operator: v1alpha1.TolerationEqual, Value: new(v1alpha1.LabelValue("yes")),
			Effect: v1alpha1.TaintNoExecute, TolerationSeconds: new(int64(60)),
		}},
		PriorityClassName: "caches",
		Spread:            v1alpha1.SpreadSpec{Nodes: v1alpha1.SpreadRequired},
	}
	return m
}

var settings = Settings{CacheImage: "registry.example/cache-server@sha256:00", ImagePullSecrets: []string{"mirror"}}

func render(t *testing.T, m *v1alpha1.Memcache) Template {
	t.Helper()
	out, err := RenderTemplate(m, settings)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestChildrenAreAsWrittenDown compares every child with a file that a reader
// can judge; -update rewrites them.
func TestChildrenAreAsWrittenDown(t *testing.T) {
	for name, m := range map[string]*v1alpha1.Memcache{"plain": plain(), "full": full()} {
		set := StatefulSet(m, render(t, m), "policy-uid", "deny-uid")
		delete(set.Annotations, AnnotationTemplate) // It repeats spec.template.
		for kind, child := range map[string]any{
			"statefulset": set, "ring": RingService(m), "ready": ReadyService(m),
			"account": ServiceAccount(m), "budget": PodDisruptionBudget(m),
		} {
			if name == "full" && kind != "statefulset" {
				continue
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				got, err := yaml.Marshal(child)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", name+"-"+kind+".yaml")
				if *update {
					if err := os.WriteFile(path, got, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != string(want) {
					t.Errorf("%s differs; got\n%s", path, got)
				}
			})
		}
	}
}

func TestPodMemoryHoldsItemsAndOverheadInWholeMebibytes(t *testing.T) {
	tests := map[string]struct {
		memory, item int64
		connections  int32
		want         int64
	}{
		// 64 + 2 + 48 + 24 + 4
		"the smallest fleet with defaults": {64 * mebibyte, mebibyte, 1024, 142 * mebibyte},
		// 4096 + 128 + 48 + 24 + 4
		"4Gi with defaults": {4096 * mebibyte, mebibyte, 1024, 4300 * mebibyte},
		// 64 + 2 + 48 + 24KiB + 4KiB, rounded up
		"one connection and tiny items round up": {64 * mebibyte, 1 << 10, 1, 115 * mebibyte},
		// 1Ti + 32Gi + 48Mi + 24000000KiB + 4Gi
		"the largest fleet does not overflow": {1 << 40, 1 << 30, 1_000_000, (1048576+32768+48+4096)*mebibyte +
			24576000000 + 524288},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			got := PodMemory(c.memory, c.item, c.connections)
			if got%mebibyte != 0 {
				t.Errorf("%d is not a whole number of mebibytes", got)
			}
			if got != c.want && got-c.want >= mebibyte || got < c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestTheTemplateDependsOnWhatTheUserWroteForPodsAlone(t *testing.T) {
	base := render(t, plain())
	tests := map[string]struct {
		change func(*v1alpha1.Memcache)
		same   bool
	}{
		"replicas":           {func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(int32(9)) }, true},
		"labels":             {func(m *v1alpha1.Memcache) { m.Labels["app"] = "other" }, true},
		"annotations":        {func(m *v1alpha1.Memcache) { m.Annotations["team"] = "other" }, true},
		"clients":            {func(m *v1alpha1.Memcache) { m.Spec.Access.Clients = []v1alpha1.Peer{{Name: "a"}} }, true},
		"memory, other unit": {func(m *v1alpha1.Memcache) { m.Spec.Memory = resource.MustParse("1024Mi") }, true},
		"memory":             {func(m *v1alpha1.Memcache) { m.Spec.Memory = resource.MustParse("2Gi") }, false},
		"cpu":                {func(m *v1alpha1.Memcache) { m.Spec.CPU = new(resource.MustParse("1")) }, false},
		"item size": {func(m *v1alpha1.Memcache) {
			m.Spec.Engine.MaxItemSize = new(resource.MustParse("1Ki"))
		}, false},
		"connections": {func(m *v1alpha1.Memcache) { m.Spec.Engine.MaxConnections = new(int32(1)) }, false},
		"admin commands": {func(m *v1alpha1.Memcache) {
			m.Spec.Engine.AdminCommands = []v1alpha1.AdminCommand{v1alpha1.AdminFlushAll}
		}, false},
		"spread":          {func(m *v1alpha1.Memcache) { m.Spec.Placement.Spread.Zones = v1alpha1.SpreadRequired }, false},
		"a wanted update": {func(m *v1alpha1.Memcache) { m.Annotations[v1alpha1.AnnotationUpdate] = "1" }, false},
		"verified peers":  {func(m *v1alpha1.Memcache) { m.Spec.Access.Peers = v1alpha1.PeersVerified }, false},
		"peers by policy": {func(m *v1alpha1.Memcache) { m.Spec.Access.Peers = v1alpha1.PeersPolicy }, true},
		"the audit mode":  {func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = v1alpha1.AccessAudit }, true},
		"required verification": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Verification = v1alpha1.VerificationRequired
		}, false},
		"verification as good as it gets": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Verification = v1alpha1.VerificationBestEffort
		}, true},
		"no verification": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Verification = v1alpha1.VerificationDisabled
		}, true},
		"a priority class": {func(m *v1alpha1.Memcache) { m.Spec.Placement.PriorityClassName = "high" }, false},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			m := plain()
			c.change(m)
			if got := render(t, m); (got.Inputs == base.Inputs) != c.same {
				t.Errorf("inputs are %s, were %s", got.Inputs, base.Inputs)
			}
		})
	}
}

// TestTheHashOfInputsIsTheSameInEveryVersion fails when a change of the operator
// would take the specs that are out there for changed ones, and so replace every
// pod of every fleet on an upgrade.
func TestTheHashOfInputsIsTheSameInEveryVersion(t *testing.T) {
	for want, m := range map[string]*v1alpha1.Memcache{"211b84c4d9": plain(), "dd53ce22a3": full()} {
		if got := render(t, m).Inputs; got != want {
			t.Errorf("the hash is %s, and was %s", got, want)
		}
	}
}

func TestTheOrderOfAdminCommandsDoesNotMatter(t *testing.T) {
	a, b := full(), full()
	slices.Reverse(b.Spec.Engine.AdminCommands)
	if x, y := render(t, a), render(t, b); x.Inputs != y.Inputs || x.Revision != y.Revision {
		t.Errorf("%s %s, %s %s", x.Inputs, x.Revision, y.Inputs, y.Revision)
	}
}

func TestThePinnedTemplateStaysWhileTheInputsDo(t *testing.T) {
	m := plain()
	old := render(t, m)
	fresh, err := RenderTemplate(m, Settings{CacheImage: "registry.example/cache-server:v2"})
	if err != nil {
		t.Fatal(err)
	}
	chosen, outdated := ChooseTemplate(fresh, old.annotations())
	if chosen.Revision != old.Revision || !outdated {
		t.Errorf("chosen %s, outdated %v", chosen.Revision, outdated)
	}
	// The pinned template survives its way through the annotation unchanged.
	data, err := json.Marshal(chosen.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != old.JSON {
		t.Errorf("read back %s, pinned %s", data, old.JSON)
	}
	if chosen, outdated = ChooseTemplate(old, old.annotations()); chosen.Revision != old.Revision || outdated {
		t.Errorf("chosen %s, outdated %v", chosen.Revision, outdated)
	}
}

func TestAPinThatIsNotWholeIsRenderedAnew(t *testing.T) {
	m := plain()
	old := render(t, m)
	fresh, err := RenderTemplate(m, Settings{CacheImage: "registry.example/cache-server:v2"})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]string){
		"template edited":  func(a map[string]string) { a[AnnotationTemplate] += " " },
		"template gone":    func(a map[string]string) { delete(a, AnnotationTemplate) },
		"inputs gone":      func(a map[string]string) { delete(a, AnnotationTemplateInputs) },
		"inputs differ":    func(a map[string]string) { a[AnnotationTemplateInputs] = "0000000000" },
		"revision differs": func(a map[string]string) { a[AnnotationTemplateRevision] = "0000000000" },
		"nothing there":    func(a map[string]string) { clear(a) },
		"template is no map": func(a map[string]string) {
			a[AnnotationTemplate] = "[]"
			a[AnnotationTemplateRevision] = shortHash([]byte("[]"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			annotations := old.annotations()
			change(annotations)
			if chosen, outdated := ChooseTemplate(fresh, annotations); chosen.Revision != fresh.Revision || outdated {
				t.Errorf("chosen %s, outdated %v", chosen.Revision, outdated)
			}
		})
	}
}

// TestPodsThatWaitForTheOperator are closed until it lets clients in, and not
// restarted for that.
func TestPodsThatWaitForTheOperator(t *testing.T) {
	for name, c := range map[string]struct {
		access       v1alpha1.AccessSpec
		args         []string
		startupProbe string
	}{
		"by default":  {v1alpha1.AccessSpec{}, nil, "/readyz"},
		"in audit":    {v1alpha1.AccessSpec{Mode: v1alpha1.AccessAudit}, nil, "/readyz"},
		"best effort": {v1alpha1.AccessSpec{Verification: v1alpha1.VerificationBestEffort}, nil, "/readyz"},
		"disabled":    {v1alpha1.AccessSpec{Verification: v1alpha1.VerificationDisabled}, nil, "/readyz"},
		"required": {v1alpha1.AccessSpec{Verification: v1alpha1.VerificationRequired},
			[]string{"--gate=closed"}, "/healthz"},
		"verified": {v1alpha1.AccessSpec{Peers: v1alpha1.PeersVerified}, []string{"--peers=verified"}, "/healthz"},
		"both": {v1alpha1.AccessSpec{Peers: v1alpha1.PeersVerified, Verification: v1alpha1.VerificationRequired},
			[]string{"--gate=closed", "--peers=verified"}, "/healthz"},
	} {
		t.Run(name, func(t *testing.T) {
			m := plain()
			m.Spec.Access = c.access
			container := render(t, m).Spec.Spec.Containers[0]
			var got []string
			for _, arg := range container.Args {
				if strings.HasPrefix(arg, "--gate") || strings.HasPrefix(arg, "--peers") {
					got = append(got, arg)
				}
			}
			if !slices.Equal(got, c.args) {
				t.Errorf("arguments %v, want %v", got, c.args)
			}
			if path := *container.StartupProbe.HTTPGet.Path; path != c.startupProbe {
				t.Errorf("it has started once %s answers, want %s", path, c.startupProbe)
			}
			if path := *container.ReadinessProbe.HTTPGet.Path; path != "/readyz" {
				t.Errorf("it is ready once %s answers", path)
			}
		})
	}
}
