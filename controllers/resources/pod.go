// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

const (
	// ContainerName is the name of the one container in a fleet's pods.
	ContainerName = "cache-server"

	// controlCAMount is where a pod finds the CA by which it knows the operator.
	controlCAMount  = "/etc/memkeep/control"
	controlCAVolume = "control-ca"
	controlCAFile   = "ca.crt"

	runAsID            = 65532
	terminationSeconds = 30
)

// PodTemplate renders the pods of a fleet as this version of the operator
// would. They pass the restricted Pod Security Standard, hold no token, and
// learn of nothing but their own addresses.
func PodTemplate(m *v1alpha1.Memcache, s Settings) *applycorev1.PodTemplateSpecApplyConfiguration {
	spec := applycorev1.PodSpec().
		WithServiceAccountName(m.Name).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(terminationSeconds).
		WithSecurityContext(applycorev1.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(runAsID).
			WithRunAsGroup(runAsID).
			WithSeccompProfile(applycorev1.SeccompProfile().
				WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(container(m, s)).
		// A certificate is public. A pod starts without it, and serves.
		WithVolumes(applycorev1.Volume().WithName(controlCAVolume).
			WithConfigMap(applycorev1.ConfigMapVolumeSource().WithName(ControlCAName(m)).WithOptional(true))).
		WithTopologySpreadConstraints(spread(m)...)
	for _, name := range s.ImagePullSecrets {
		spec.WithImagePullSecrets(applycorev1.LocalObjectReference().WithName(name))
	}
	place(spec, &m.Spec.Placement)
	return applycorev1.PodTemplateSpec().WithLabels(PodLabels(m)).WithSpec(spec)
}

func container(m *v1alpha1.Memcache, s Settings) *applycorev1.ContainerApplyConfiguration {
	memory := *resource.NewQuantity(
		PodMemory(m.Spec.Memory.Value(), MaxItemSize(m), MaxConnections(m)), resource.BinarySI)
	c := applycorev1.Container().
		WithName(ContainerName).
		WithImage(s.CacheImage).
		WithArgs(args(m)...).
		WithEnv(ofItself("POD_IPS", "status.podIPs"), ofItself("POD_UID", "metadata.uid")).
		WithVolumeMounts(applycorev1.VolumeMount().WithName(controlCAVolume).
			WithMountPath(controlCAMount).WithReadOnly(true)).
		WithPorts(
			applycorev1.ContainerPort().WithName(portNameCache).
				WithContainerPort(v1alpha1.PortCache).WithProtocol(corev1.ProtocolTCP),
			applycorev1.ContainerPort().WithName(portNameMetrics).
				WithContainerPort(v1alpha1.PortMetrics).WithProtocol(corev1.ProtocolTCP),
			applycorev1.ContainerPort().WithName(portNameControl).
				WithContainerPort(v1alpha1.PortControl).WithProtocol(corev1.ProtocolTCP)).
		WithResources(applycorev1.ResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceCPU: cpuRequest(m), corev1.ResourceMemory: memory}).
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: memory})).
		WithSecurityContext(applycorev1.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithPrivileged(false).
			WithReadOnlyRootFilesystem(true).
			WithRunAsNonRoot(true).
			WithCapabilities(applycorev1.Capabilities().WithDrop("ALL")))
	if s.ImagePullPolicy != "" {
		c.WithImagePullPolicy(s.ImagePullPolicy)
	}
	return withProbes(m, c)
}

// ofItself tells a pod something about itself.
func ofItself(name, field string) *applycorev1.EnvVarApplyConfiguration {
	return applycorev1.EnvVar().WithName(name).WithValueFrom(applycorev1.EnvVarSource().WithFieldRef(
		applycorev1.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(field)))
}

// withProbes adds the probes. The startup probe asks every second, so that a
// pod is ready at once; afterwards readiness follows within two periods, and
// liveness is patient, because a restart costs the data. A pod that waits for
// the operator before it serves has started all the same: the kubelet would
// restart one that is not ready in time.
func withProbes(
	m *v1alpha1.Memcache, c *applycorev1.ContainerApplyConfiguration,
) *applycorev1.ContainerApplyConfiguration {
	get := func(path string, period, timeout, failures int32) *applycorev1.ProbeApplyConfiguration {
		return applycorev1.Probe().
			WithHTTPGet(applycorev1.HTTPGetAction().
				WithPath(path).
				WithPort(intstr.FromString(portNameMetrics)).
				WithScheme(corev1.URISchemeHTTP)).
			WithPeriodSeconds(period).
			WithTimeoutSeconds(timeout).
			WithSuccessThreshold(1).
			WithFailureThreshold(failures)
	}
	started := "/readyz"
	if Gated(m) || Verified(m) {
		started = "/healthz"
	}
	return c.
		WithStartupProbe(get(started, 1, 1, 120)).
		WithReadinessProbe(get("/readyz", 2, 2, 2)).
		WithLivenessProbe(get("/healthz", 10, 5, 6))
}

func args(m *v1alpha1.Memcache) []string {
	out := []string{
		"fleet",
		"--memory-bytes=" + strconv.FormatInt(m.Spec.Memory.Value(), 10),
		"--max-item-size=" + strconv.FormatInt(MaxItemSize(m), 10),
		"--max-connections=" + strconv.FormatInt(int64(MaxConnections(m)), 10),
	}
	out = append(out, "--control-ca="+controlCAMount+"/"+controlCAFile)
	if names := adminCommands(m); len(names) > 0 {
		out = append(out, "--admin-commands="+strings.Join(names, ","))
	}
	if Gated(m) {
		out = append(out, "--gate=closed")
	}
	if Verified(m) {
		out = append(out, "--peers=verified")
	}
	return out
}

// adminCommands returns the allowed commands in a fixed order, because the list
// is a set and its order must not make a new template.
func adminCommands(m *v1alpha1.Memcache) []string {
	names := make([]string, 0, len(m.Spec.Engine.AdminCommands))
	for _, c := range m.Spec.Engine.AdminCommands {
		names = append(names, string(c))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func spread(m *v1alpha1.Memcache) []*applycorev1.TopologySpreadConstraintApplyConfiguration {
	one := func(key string, mode v1alpha1.SpreadMode) *applycorev1.TopologySpreadConstraintApplyConfiguration {
		unsatisfiable := corev1.ScheduleAnyway
		if mode == v1alpha1.SpreadRequired {
			unsatisfiable = corev1.DoNotSchedule
		}
		return applycorev1.TopologySpreadConstraint().
			WithMaxSkew(1).
			WithTopologyKey(key).
			WithWhenUnsatisfiable(unsatisfiable).
			WithLabelSelector(applymetav1.LabelSelector().WithMatchLabels(SelectorLabels(m)))
	}
	return []*applycorev1.TopologySpreadConstraintApplyConfiguration{
		one(corev1.LabelHostname, m.Spec.Placement.Spread.Nodes),
		one(corev1.LabelTopologyZone, m.Spec.Placement.Spread.Zones),
	}
}

func place(spec *applycorev1.PodSpecApplyConfiguration, p *v1alpha1.PlacementSpec) {
	if labels := p.NodeLabels(); len(labels) > 0 {
		spec.WithNodeSelector(labels)
	}
	for i := range p.Tolerations {
		spec.WithTolerations(toleration(p.Tolerations[i].ToCorev1()))
	}
	if p.PriorityClassName != "" {
		spec.WithPriorityClassName(p.PriorityClassName)
	}
}

func toleration(t corev1.Toleration) *applycorev1.TolerationApplyConfiguration {
	out := applycorev1.Toleration()
	if t.Key != "" {
		out.WithKey(t.Key)
	}
	if t.Operator != "" {
		out.WithOperator(t.Operator)
	}
	if t.Value != "" {
		out.WithValue(t.Value)
	}
	if t.Effect != "" {
		out.WithEffect(t.Effect)
	}
	if t.TolerationSeconds != nil {
		out.WithTolerationSeconds(*t.TolerationSeconds)
	}
	return out
}
