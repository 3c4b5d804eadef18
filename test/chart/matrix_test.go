// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build chart

package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/memkeep/memkeep/test/envtest/apiserver"
	"github.com/memkeep/memkeep/test/helmcli"
)

// TestTheMatrixRendersTheSameTwice lints every file of values strictly, and
// renders it twice with each Helm, to the same bytes.
func TestTheMatrixRendersTheSameTwice(t *testing.T) {
	for _, file := range matrix(t) {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			var first string
			for _, helm := range helms {
				if out, err := helm.Run(t.Context(), "lint", "--strict", chart, "-f", file, "--namespace", space); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				text := render(t, helm, "-f", file)
				if text != render(t, helm, "-f", file) {
					t.Errorf("%s renders other bytes the second time", helm)
				}
				if first == "" {
					first = text
				}
				compareRenderings(t, helm, first, text)
			}
		})
	}
}

// compareRenderings asks that both Helms make the same objects; they may write them in another order.
func compareRenderings(t *testing.T, helm helmcli.Helm, first, other string) {
	t.Helper()
	a, b := byName(t, parse(t, first)), byName(t, parse(t, other))
	for path, what := range differences(a, b) {
		t.Errorf("%s renders something else than Helm 4: %s: %s", helm, path, what)
	}
}

// TestTheChartAsksNothingAndDrawsNothing reads the templates: what they would
// look up or draw at random is another thing every time that GitOps renders it.
func TestTheChartAsksNothingAndDrawsNothing(t *testing.T) {
	forbidden := regexp.MustCompile(`\b(lookup|rand[A-Z]\w*|gen[A-Z]\w*|uuidv4|now|ago|htpasswd|bcrypt|derivePassword|` +
		`getHostByName|Release\.(IsInstall|IsUpgrade|Revision))\b`)
	action := regexp.MustCompile(`(?s)\{\{(.*?)\}\}`)
	text := regexp.MustCompile(`(?s)/\*.*?\*/|"(?:[^"\\]|\\.)*"`)
	files := 0
	err := filepath.WalkDir(chart+"/templates", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, found := range action.FindAllStringSubmatch(string(raw), -1) {
			if word := forbidden.FindString(text.ReplaceAllString(found[1], "")); word != "" {
				t.Errorf("%s uses %s: {{%s}}", path, word, found[1])
			}
		}
		return nil
	})
	if err != nil || files < 8 {
		t.Fatalf("read %d files: %v", files, err)
	}
}

// TestTheOnlyHooksAreTests asks it of every rendering.
func TestTheOnlyHooksAreTests(t *testing.T) {
	hooks := 0
	for _, file := range matrix(t) {
		for _, u := range parse(t, render(t, helms[0], "-f", file)) {
			if hook, is := u.GetAnnotations()[hookAnnotation]; is {
				hooks++
				if hook != "test" {
					t.Errorf("%s: %s is a hook of %s", file, id(u), hook)
				}
			}
		}
	}
	if hooks == 0 {
		t.Error("there are no hooks at all: this test shows nothing")
	}
}

// TestTheCRDIsKept asks for the annotations by which Helm, and Argo CD, leave the definition.
func TestTheCRDIsKept(t *testing.T) {
	for keep, want := range map[string][2]string{"true": {"keep", "Prune=false,Delete=false"}, "false": {}} {
		objects := byName(t, parse(t, render(t, helms[0], "--set", "crds.keep="+keep)))
		u := objects["CustomResourceDefinition/memcaches.memkeep.io"]
		if u == nil {
			t.Fatal("there is no CRD")
		}
		found := u.GetAnnotations()
		if got := [2]string{found["helm.sh/resource-policy"], found["argocd.argoproj.io/sync-options"]}; got != want {
			t.Errorf("crds.keep=%s: got %q, want %q", keep, got, want)
		}
	}
}

// podMonitors stands for the kind that the Prometheus operator brings; the
// fields are looked at in test/ecosystem.
func podMonitors() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "podmonitors.monitoring.coreos.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "monitoring.coreos.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "podmonitors", Kind: "PodMonitor"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: new(true),
				}},
			}},
		},
	}
}

// TestTheAPIServerTakesEveryRendering asks a real API server, with a dry run, of
// every object of every rendering.
func TestTheAPIServerTakesEveryRendering(t *testing.T) {
	server, err := apiserver.Start(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	if _, err := envtest.InstallCRDs(server.Client, envtest.CRDInstallOptions{
		CRDs: []*apiextensionsv1.CustomResourceDefinition{podMonitors()},
	}); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	kube, err := client.New(server.Client, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{space, space + "-outsider", space + "-test", "team-a", "team-b"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := kube.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range matrix(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			objects := parse(t, render(t, helms[0], "-f", file))
			for _, u := range objects {
				err := kube.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.DryRunAll,
					client.ForceOwnership, client.FieldOwner("helm"))
				if err != nil {
					t.Errorf("%s: %v", id(u), err)
				}
			}
			t.Logf("%d objects", len(objects))
		})
	}
}

// TestElsewhereNothingKnowsTheUsualNamespace renders for another namespace.
func TestElsewhereNothingKnowsTheUsualNamespace(t *testing.T) {
	out, err := helms[0].Run(t.Context(), "template", release, chart, "--namespace", "elsewhere",
		"--set", "networkPolicy.egress.enabled=true,admission.policies.access=Deny")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, space) {
			t.Errorf("it says %q", line)
		}
	}
	for what, n := range map[string]int{
		"'system:serviceaccount:elsewhere:memkeep-manager'": 2, "namespace: elsewhere-outsider": 3,
	} {
		if got := strings.Count(out, what); got < n {
			t.Errorf("%q is there %d times, want %d", what, got, n)
		}
	}
}

// TestTheApplicationsChartIsWellFormed lints the example and asks that its
// Memcache has the replicas that were written, none and nobody's included.
func TestTheApplicationsChartIsWellFormed(t *testing.T) {
	const app = root + "/examples/app"
	for _, helm := range helms {
		if out, err := helm.Run(t.Context(), "lint", "--strict", app); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		for written, want := range map[string]string{"0": "0", "3": "3", "null": "<nil>"} {
			text, err := helm.Run(t.Context(), "template", "web", app, "--namespace", "shop",
				"--set", "sessions.replicas="+written)
			if err != nil {
				t.Fatal(err)
			}
			got := byName(t, parse(t, text))["Memcache shop/web-sessions"].Object["spec"].(map[string]any)["replicas"]
			if fmt.Sprint(got) != want {
				t.Errorf("%s, replicas: %s: got %v, want %v", helm, written, got, want)
			}
		}
	}
}

// TestTheSuiteOfHelmUnittest runs the chart's own tests, in the form that users of Helm know.
func TestTheSuiteOfHelmUnittest(t *testing.T) {
	program, err := helmcli.Program("untt")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "--strict", chart).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Test Suites: ") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
