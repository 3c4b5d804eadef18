// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
	"github.com/memkeep/memkeep/test/manifests"
)

const (
	policyKind  = "ValidatingAdmissionPolicy"
	bindingKind = "ValidatingAdmissionPolicyBinding"

	// image is a tag of the image that the installation names.
	image = "memkeep.io/cache-server:v0.1.0-000000000001"
)

// Who asks. Each may do everything to the built-in kinds and edit Memcaches, so
// that what refuses is admission and not RBAC.
const (
	admin    = "admin"
	tenant   = "tenant"  // has no verb grant
	owner    = "owner"   // may grant in namespace caches
	keeper   = "keeper"  // may grant caches/sessions alone
	grantor  = "grantor" // may grant everywhere
	operator = "system:serviceaccount:memkeep-system:memkeep-manager"

	controllerManager = "system:kube-controller-manager"
	statefulSets      = "system:serviceaccount:kube-system:statefulset-controller"
	replicaSets       = "system:serviceaccount:kube-system:replicaset-controller"
	collector         = "system:serviceaccount:kube-system:generic-garbage-collector"
)

// groupsOf are the groups that a user's credentials would put him into.
func groupsOf(user string) []string {
	groups := []string{"system:authenticated"}
	if parts := strings.Split(user, ":"); len(parts) == 4 && parts[1] == "serviceaccount" {
		groups = append(groups, "system:serviceaccounts", "system:serviceaccounts:"+parts[2])
	}
	if user == admin {
		groups = append(groups, "system:masters")
	}
	return groups
}

// accounts are the rights of everybody above.
func accounts() []*unstructured.Unstructured {
	var wide strings.Builder
	for _, user := range []string{
		tenant, owner, keeper, grantor, operator, controllerManager, statefulSets, replicaSets, collector,
	} {
		fmt.Fprintf(&wide, "{apiGroup: rbac.authorization.k8s.io, kind: User, name: %q},", user)
	}
	const rbac = "{apiVersion: rbac.authorization.k8s.io/v1, "
	return parse(rbac + `kind: ClusterRole, metadata: {name: wide}, rules: [
  {apiGroups: ["", apps, batch, networking.k8s.io, policy], resources: ["*"], verbs: ["*"]},
  {apiGroups: [memkeep.io], resources: ["*"], verbs: [get, list, watch, create, update, patch, delete]}]}
---
` + rbac + `kind: ClusterRoleBinding, metadata: {name: wide},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: wide}, subjects: [` + wide.String() + `]}
---
` + rbac + `kind: ClusterRoleBinding, metadata: {name: grantor},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: memkeep-grant},
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: grantor}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: caches}}
---
` + rbac + `kind: RoleBinding, metadata: {name: owner, namespace: caches},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: memkeep-grant},
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: owner}]}
---
` + rbac + `kind: Role, metadata: {name: keeper, namespace: caches}, rules: [
  {apiGroups: [memkeep.io], resources: [memcaches], resourceNames: [sessions], verbs: [grant]}]}
---
` + rbac + `kind: RoleBinding, metadata: {name: keeper, namespace: caches},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: keeper},
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: keeper}]}
`)
}

// fixtures makes a fleet as the operator and Kubernetes' controllers make it, in
// the namespace caches, and pods, Services and workloads that are no fleet's.
func fixtures(ctx context.Context) error {
	m := &v1alpha1.Memcache{}
	m.Namespace, m.Name, m.UID = "caches", "sessions", "00000000-0000-0000-0000-000000000001"
	m.Spec.Memory.Set(64 << 20)
	template, err := resources.RenderTemplate(m, resources.Settings{CacheImage: image})
	if err != nil {
		return fmt.Errorf("render template: %w", err)
	}
	byOperator, err := as(operator)
	if err != nil {
		return err
	}
	set := resources.StatefulSet(m, template,
		"00000000-0000-0000-0000-000000000002", "00000000-0000-0000-0000-000000000003")
	if err := byOperator.Apply(ctx, set, client.FieldOwner("memkeep"), client.ForceOwnership); err != nil {
		return fmt.Errorf("the operator's StatefulSet: %w", err)
	}
	for _, made := range []struct{ by, doc string }{
		{statefulSets, member("sessions-0", "sessions", "")},
		{statefulSets, `{apiVersion: apps/v1, kind: ControllerRevision, revision: 1, data: {spec: {}},
			metadata: {name: sessions-1, namespace: caches, labels: {memkeep.io/name: sessions}}}`},
		{operator, `{apiVersion: v1, kind: Service, metadata: {name: sessions, namespace: caches, ` + child + `},
			spec: {clusterIP: None, ports: [{port: 11211}], selector: {memkeep.io/name: sessions}}}`},
		{tenant, fleet("caches", "sessions", "{}")},
		{tenant, pod("caches", "web", "{app: web}")},
		{tenant, service("caches", "web", "ClusterIP", "{app: web}")},
		{tenant, service("caches", "named", "ClusterIP", "{memkeep.io/name: sessions}")},
		{tenant, service("caches", "out", "LoadBalancer", "{app: web}")},
		{tenant, workload("apps/v1", "Deployment", "caches", "web", "{app: web}")},
		{tenant, workload("apps/v1", "StatefulSet", "caches", "web", "{app: web}")},
	} {
		c, err := as(made.by)
		if err != nil {
			return err
		}
		for _, u := range parse(made.doc) {
			if err := c.Create(ctx, u); err != nil {
				return fmt.Errorf("%s makes %s %s: %w", made.by, u.GetKind(), u.GetName(), err)
			}
		}
	}
	return nil
}

// child is the metadata of the operator's children.
const child = `labels: {memkeep.io/name: sessions, app.kubernetes.io/managed-by: memkeep},
	ownerReferences: [{apiVersion: memkeep.io/v1alpha1, kind: Memcache, name: sessions, controller: true,
		uid: 00000000-0000-0000-0000-000000000001}]`

const containers = "containers: [{name: main, image: example.com/app}]"

func pod(namespace, name, labels string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s, labels: %s}, spec: {%s}}",
		name, namespace, labels, containers)
}

// member is a pod as the StatefulSet controller makes it for a fleet.
func member(name, set, more string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: caches,
		labels: {memkeep.io/name: sessions, memkeep.io/component: cache, app.kubernetes.io/managed-by: memkeep,
			istio.io/dataplane-mode: none, controller-revision-hash: sessions-1%s},
		ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: %s, controller: true,
			uid: 00000000-0000-0000-0000-000000000004}]}, spec: {%s}}`, name, more, set, containers)
}

func service(namespace, name, kind, selector string) string {
	return serviceOf(namespace, name, "type: "+kind+", selector: "+selector)
}

func serviceOf(namespace, name, spec string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}, "+
		"spec: {ports: [{port: 11211}], %s}}", name, namespace, spec)
}

func fleet(namespace, name, access string) string {
	return fmt.Sprintf("{apiVersion: memkeep.io/v1alpha1, kind: Memcache, metadata: {name: %s, namespace: %s}, "+
		"spec: {memory: 64Mi, access: %s}}", name, namespace, access)
}

// workload is an object of any built-in kind whose template has these labels.
func workload(version, kind, namespace, name, labels string) string {
	template := fmt.Sprintf("{metadata: {labels: %s}, spec: {%s}}", labels, containers)
	once := strings.TrimSuffix(template, "}}") + ", restartPolicy: Never}}"
	spec := "spec: {selector: {matchLabels: " + labels + "}, template: " + template + "}"
	switch kind {
	case "StatefulSet":
		spec = "spec: {serviceName: x, selector: {matchLabels: " + labels + "}, template: " + template + "}"
	case "ReplicationController":
		spec = "spec: {selector: " + labels + ", template: " + template + "}"
	case "Job":
		spec = "spec: {template: " + once + "}"
	case "CronJob":
		spec = "spec: {schedule: '* * * * *', jobTemplate: {spec: {template: " + once + "}}}"
	case "PodTemplate":
		spec = "template: " + template
	}
	return fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: %s, namespace: %s}, %s}",
		version, kind, name, namespace, spec)
}

func namespace(name, labels string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: %s}}", name, labels)
}

// parse reads YAML documents that the tests wrote themselves.
func parse(docs string) []*unstructured.Unstructured {
	objects, err := manifests.Parse(strings.NewReader(docs))
	if err != nil {
		panic(fmt.Sprintf("%v in %s", err, docs))
	}
	return objects
}

// read reads a manifest of the repository.
func read(path string) ([]*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return manifests.Parse(bytes.NewReader(raw))
}

// build runs kustomize in a directory of the repository.
func build(dir string) ([]*unstructured.Unstructured, error) {
	cmd := exec.Command("go", "tool", "-modfile=hack/tools/go.mod", "kustomize", "build", dir)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w: %s", dir, err, &stderr)
	}
	return manifests.Parse(bytes.NewReader(raw))
}

func apply(ctx context.Context, c client.Client, u *unstructured.Unstructured) error {
	applied := client.ApplyConfigurationFromUnstructured(u.DeepCopy())
	if err := c.Apply(ctx, applied, client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

func named(kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	version := map[string]string{
		"CronJob": "batch/v1", "StatefulSet": "apps/v1", "Deployment": "apps/v1", "ControllerRevision": "apps/v1", "Memcache": "memkeep.io/v1alpha1",
		"NetworkPolicy": "networking.k8s.io/v1", policyKind: "admissionregistration.k8s.io/v1",
		bindingKind: "admissionregistration.k8s.io/v1",
	}[kind]
	if version == "" {
		version = corev1.SchemeGroupVersion.String()
	}
	u.SetAPIVersion(version)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// dry keeps what passes from happening.
var dry = []string{metav1.DryRunAll}
