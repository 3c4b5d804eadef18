// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	cacheserver "github.com/memkeep/memkeep/cache-server/server"
)

type schemaProps = apiextensionsv1.JSONSchemaProps

// definitionOf returns the shipped definition, moved to another group where one is given.
func definitionOf(t *testing.T, group string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	raw, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(raw, crd); err != nil {
		t.Fatal(err)
	}
	if group != "" {
		crd.Name = "memcaches." + group
		crd.Spec.Group = group
		crd.Spec.Names.ShortNames = nil
		crd.Spec.Names.Categories = nil
	}
	return crd
}

// install creates or updates a definition and waits until it is served.
func install(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	// The API server's own controllers write its status meanwhile.
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now := &apiextensionsv1.CustomResourceDefinition{}
		err := kube.Get(t.Context(), client.ObjectKeyFromObject(crd), now)
		if apierrors.IsNotFound(err) {
			return kube.Create(t.Context(), crd.DeepCopy())
		}
		if err != nil {
			return err
		}
		now.Spec = crd.Spec
		return kube.Update(t.Context(), now)
	})
	if err != nil {
		t.Fatalf("install definition: %v", err)
	}
	if err := envtest.WaitForCRDs(server.Config, []*apiextensionsv1.CustomResourceDefinition{crd},
		envtest.CRDInstallOptions{MaxTime: 20 * time.Second, PollInterval: 50 * time.Millisecond}); err != nil {
		t.Fatalf("wait for definition: %v", err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 20 s: %s", what)
}

// walk calls visit for a schema and for all that is in it.
func walk(path string, s *schemaProps, visit func(path string, s *schemaProps)) {
	visit(path, s)
	for name, f := range s.Properties {
		walk(path+"."+name, &f, visit)
		s.Properties[name] = f
	}
	if s.Items != nil {
		walk(path+"[]", s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		walk(path+"{}", s.AdditionalProperties.Schema, visit)
	}
}

// visit walks spec and status of the definition as the API server has it.
func visit(t *testing.T, f func(path string, s *schemaProps)) {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "memcaches.memkeep.io"}, crd); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, part := range []string{"spec", "status"} {
		s := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[part]
		walk(part, &s, func(path string, s *schemaProps) {
			seen++
			f(path, s)
		})
	}
	if seen < 50 {
		t.Errorf("saw %d fields: the walk misses most of the definition", seen)
	}
}

func TestEverythingIsBounded(t *testing.T) {
	visit(t, func(path string, s *schemaProps) {
		switch s.Type {
		case "string":
			if s.MaxLength == nil && len(s.Enum) == 0 && s.Format != "date-time" {
				t.Errorf("%s: a string without maxLength or enum", path)
			}
		case "array":
			if s.MaxItems == nil {
				t.Errorf("%s: a list without maxItems", path)
			}
			if s.XListType == nil {
				t.Errorf("%s: a list without list type: two owners could not share it or know that they cannot", path)
			}
		case "integer":
			if strings.HasPrefix(path, "spec") && (s.Minimum == nil || s.Maximum == nil) {
				t.Errorf("%s: a number without minimum and maximum", path)
			}
		case "boolean":
			t.Errorf("%s: a boolean: use an enum, which can grow", path)
		case "object":
			if s.AdditionalProperties != nil && s.MaxProperties == nil {
				t.Errorf("%s: a map without maxProperties", path)
			}
		case "":
			// A quantity: its pattern bounds what it may hold, its rule how long and how large it is.
			if !s.XIntOrString || s.Pattern == "" || len(s.XValidations) == 0 ||
				!strings.Contains(s.XValidations[0].Rule, "size(string(self)) <= 32") {
				t.Errorf("%s: a value of any type, or a quantity without a rule that bounds it", path)
			}
		default:
			t.Errorf("%s: unexpected type %q", path, s.Type)
		}
		if s.XPreserveUnknownFields != nil {
			t.Errorf("%s: unknown fields are kept", path)
		}
	})
}

func TestNoDefaultLiesInAListItem(t *testing.T) {
	var defaults []string
	visit(t, func(path string, s *schemaProps) {
		if s.Default != nil {
			defaults = append(defaults, path+"="+string(s.Default.Raw))
		}
	})
	slices.Sort(defaults)
	if want := []string{"spec.replicas=1", `status={"observedGeneration":-1}`}; !slices.Equal(defaults, want) {
		t.Errorf("defaults are %v, want %v: GitOps tools see every other one as a difference", defaults, want)
	}
}

// The operator knows the cache server by its flags alone, so each has a list of its own.
func TestTheCacheServerTakesEveryAdminCommandOfTheAPI(t *testing.T) {
	var offered []string
	visit(t, func(path string, s *schemaProps) {
		if path == "spec.engine.adminCommands[]" {
			for _, value := range s.Enum {
				offered = append(offered, strings.Trim(string(value.Raw), `"`))
			}
		}
	})
	taken := make([]string, 0, len(cacheserver.AllAdminCommands))
	for _, c := range cacheserver.AllAdminCommands {
		taken = append(taken, string(c))
	}
	slices.Sort(offered)
	slices.Sort(taken)
	if !slices.Equal(offered, taken) {
		t.Errorf("the API offers %v, the cache server takes %v", offered, taken)
	}
}

func TestEveryFieldIsExplained(t *testing.T) {
	visit(t, func(path string, s *schemaProps) {
		if len(s.Description) < 10 && !strings.HasSuffix(path, "[]") {
			t.Errorf("%s: no description", path)
		}
		for _, r := range s.XValidations {
			if r.Message == "" {
				t.Errorf("%s: rule without message: %s", path, r.Rule)
			}
			if len(r.Rule) > 320 {
				t.Errorf("%s: rule of %d characters: split it", path, len(r.Rule))
			}
		}
	})
	crd, err := os.Stat(definition)
	if err != nil {
		t.Fatal(err)
	}
	if crd.Size() > 100<<10 {
		t.Errorf("the definition has %d bytes: kubectl apply keeps a copy in annotations, of at most 256 KiB", crd.Size())
	}
}
