// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission asks a real API server what the installation's admission
// policies refuse and let through, as users with and without rights, as the
// operator and as Kubernetes' own controllers.
package admission

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
)

// root is the top of the repository, seen from this package.
const root = "../../.."

// soon bounds everything that has to happen, on a busy machine, too.
const soon = 90 * time.Second

var (
	server *apiserver.Server
	kube   client.Client // All rights.
	// shipped are the policies of the installation and of its component.
	shipped []string
	// refused are the policies that a test has seen at work.
	refused = map[string]bool{}
)

func TestMain(m *testing.M) {
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "admission tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	ctrl.SetLogger(logr.Discard())
	if server, err = apiserver.Start(root, "kube-controller-manager"); err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := server.Stop(); stopErr != nil && err == nil {
			err = fmt.Errorf("stop API server: %w", stopErr)
		}
	}()
	server.Client.QPS = -1
	if kube, err = client.New(server.Client, client.Options{Scheme: controllers.Scheme()}); err != nil {
		return 0, fmt.Errorf("make client: %w", err)
	}
	// It is Kubernetes' controller manager that checks the policies' types.
	stop, err := server.StartControllers(ctx, server.KubeConfig,
		[]string{"validatingadmissionpolicy-status-controller"})
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := install(ctx); err != nil {
		return 0, err
	}
	code = m.Run()
	if code == 0 && !filtered() {
		for _, name := range shipped {
			if !refused[name] {
				return 1, fmt.Errorf("no test saw the policy %s refuse anything", name)
			}
		}
	}
	return code, nil
}

// install applies the installation without its Deployment, and the component that
// asks for the verb grant, and brings up what the tests try to harm.
func install(ctx context.Context) error {
	objects, err := build("config/default")
	if err != nil {
		return err
	}
	access, err := read("config/admission/access/access.yaml")
	if err != nil {
		return err
	}
	objects = slices.DeleteFunc(append(objects, access...), func(u *unstructured.Unstructured) bool {
		return u.GetKind() == "Deployment" || u.GetKind() == "CustomResourceDefinition"
	})
	if err := before(ctx); err != nil {
		return err
	}
	for _, u := range append(objects, accounts()...) {
		if err := apply(ctx, kube, u); err != nil {
			return err
		}
		if u.GetKind() == policyKind {
			shipped = append(shipped, u.GetName())
		}
	}
	for name, labels := range map[string]map[string]string{
		"bare": nil, "shop": {"client.memkeep.io/caches.sessions": "true", "team": "shop"},
	} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		if err := kube.Create(ctx, ns); err != nil {
			return fmt.Errorf("create namespace: %w", err)
		}
	}
	if err := settle(ctx, kube); err != nil {
		return err
	}
	return fixtures(ctx)
}

// before makes what was there before the policies.
func before(ctx context.Context) error {
	pinned := strings.NewReplacer("name: sessions, namespace: bare", "name: pinned, namespace: old",
		"memkeep.io/name: sessions", "memkeep.io/name: pinned").Replace(set(image + "=>old.example.com/cache:v1"))
	for _, doc := range []string{
		namespace("old", "{}"), pinned,
		service("old", "out", "LoadBalancer", "{memkeep.io/name: sessions}"),
		workload("batch/v1", "CronJob", "old", "planted", "{memkeep.io/name: sessions}"),
	} {
		if err := kube.Create(ctx, parse(doc)[0]); err != nil {
			return fmt.Errorf("create what is older: %w", err)
		}
	}
	return nil
}

// settle returns once the API server acts on every policy and binding as it is
// now: it acts on one that was made after them.
func settle(ctx context.Context, c client.Client) error {
	name := fmt.Sprintf("canary-%d", time.Now().UnixNano())
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionregistrationv1.RuleWithOperations{
						Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
						Rule: admissionregistrationv1.Rule{
							APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"},
						},
					},
				}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.metadata.name != '" + name + "'"}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        name,
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	for _, o := range []client.Object{policy, binding} {
		if err := c.Create(ctx, o); err != nil {
			return fmt.Errorf("create canary: %w", err)
		}
		defer func() { _ = c.Delete(context.WithoutCancel(ctx), o) }()
	}
	return eventually(ctx, "the policies to be at work", func() error {
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
		if err := c.Create(ctx, probe, client.DryRunAll); err == nil {
			return fmt.Errorf("the canary sings")
		}
		return nil
	})
}

// eventually tries until f succeeds.
func eventually(ctx context.Context, what string, f func() error) error {
	for deadline := time.Now().Add(soon); ; {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// as returns a client that is somebody else.
func as(user string, options ...func(*rest.Config)) (client.Client, error) {
	config := rest.CopyConfig(server.Client)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groupsOf(user)}
	for _, change := range options {
		change(config)
	}
	return client.New(config, client.Options{Scheme: controllers.Scheme(), Mapper: kube.RESTMapper()})
}
