// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Ready, Available, AccessConfigured and AccessEnforced are good
// when True; AccessWidened, UpdateAvailable, Reconciling and Stalled are present only while True or
// report the abnormal when True.
const (
	// ConditionReady sums up: every wanted pod is updated and ready, access is
	// configured, and nothing is left to do.
	ConditionReady = "Ready"
	// ConditionAvailable is True while at least one member serves, or none is wanted.
	ConditionAvailable = "Available"
	// ConditionAccessConfigured is True once the fleet's NetworkPolicy is ours and as rendered.
	ConditionAccessConfigured = "AccessConfigured"
	// ConditionAccessEnforced tells whether a proof showed that the cluster enforces the policy.
	ConditionAccessEnforced = "AccessEnforced"
	// ConditionAccessWidened is True when other objects admit more to the fleet's
	// pods than the Memcache does, and Unknown when that cannot be judged.
	ConditionAccessWidened = "AccessWidened"
	// ConditionUpdateAvailable is True when this operator would render another pod template.
	ConditionUpdateAvailable = "UpdateAvailable"
	// ConditionReconciling is kstatus': present and True while work goes on.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is kstatus': present and True when only a human can help.
	ConditionStalled = "Stalled"
)

// Reasons of conditions. They are API: docs/conditions.md explains each.
const (
	// ReasonMembersReady: every wanted member is updated and ready.
	ReasonMembersReady = "MembersReady"
	// ReasonScaledToZero: no member is wanted and none is there.
	ReasonScaledToZero = "ScaledToZero"
	// ReasonMembersNotReady: members are being created or are not ready yet.
	ReasonMembersNotReady = "MembersNotReady"
	// ReasonRollingOut: outdated members are being replaced one at a time.
	ReasonRollingOut = "RollingOut"
	// ReasonScalingDown: members that are not wanted any more are still there.
	ReasonScalingDown = "ScalingDown"
	// ReasonMinimumAvailable: at least one member serves.
	ReasonMinimumAvailable = "MinimumAvailable"
	// ReasonNoMemberReady: no member serves.
	ReasonNoMemberReady = "NoMemberReady"
	// ReasonPolicyApplied: the fleet's NetworkPolicy is in the API server as rendered.
	ReasonPolicyApplied = "PolicyApplied"
	// ReasonNobodyAdmitted: the policy is applied and names no client.
	ReasonNobodyAdmitted = "NobodyAdmitted"
	// ReasonUnguardedLabel: the policy is applied, and a client is admitted by a
	// namespace label that is not Memkeep's client label nor the namespace's name.
	ReasonUnguardedLabel = "UnguardedLabel"
	// ReasonEveryoneAdmitted: the policy is applied, and mode Audit admits everyone
	// to the cache port.
	ReasonEveryoneAdmitted = "EveryoneAdmitted"
	// ReasonPolicyPending: the policy could not be applied yet.
	ReasonPolicyPending = "PolicyPending"
	// ReasonNotProven: enforcement has not been proven yet, or not any more.
	ReasonNotProven = "NotProven"
	// ReasonEnforcementProven: outsiders were refused at every member where they
	// reached the decoy beside it.
	ReasonEnforcementProven = "EnforcementProven"
	// ReasonStrangerAdmitted: an outsider reached a port that the policy shuts.
	ReasonStrangerAdmitted = "StrangerAdmitted"
	// ReasonNoProber: there is no prober to dial from.
	ReasonNoProber = "NoProber"
	// ReasonDecoyUnreachable: outsiders did not reach the decoy on a member's
	// node, so that being refused at the member proves nothing.
	ReasonDecoyUnreachable = "DecoyUnreachable"
	// ReasonMemberUnreachable: a member's control port does not answer the operator.
	ReasonMemberUnreachable = "MemberUnreachable"
	// ReasonVerificationDisabled: the object asks for no proof.
	ReasonVerificationDisabled = "VerificationDisabled"
	// ReasonAuditMode: everyone is admitted on purpose.
	ReasonAuditMode = "AuditMode"
	// ReasonNoMembers: there is no member to dial.
	ReasonNoMembers = "NoMembers"
	// ReasonWidenedByPolicy: another network policy admits more.
	ReasonWidenedByPolicy = "WidenedByPolicy"
	// ReasonExposedByService: a Service leads to the pods from outside, or takes
	// their addresses.
	ReasonExposedByService = "ExposedByService"
	// ReasonExposedByPod: a pod of the fleet has a port of its node.
	ReasonExposedByPod = "ExposedByPod"
	// ReasonForeignEndpoints: the fleet's own Service has addresses that are not its pods'.
	ReasonForeignEndpoints = "ForeignEndpoints"
	// ReasonAsConfigured: nothing admits more than the object does.
	ReasonAsConfigured = "AsConfigured"
	// ReasonNotJudged: there is something that the operator cannot read or judge.
	ReasonNotJudged = "NotJudged"
	// ReasonNameConflict: an object of a child's name exists and is not ours.
	ReasonNameConflict = "NameConflict"
	// ReasonInvalidSpec: the spec cannot be acted on; the message names the field.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonForbidden: quota or admission refuses the fleet's pods or children.
	ReasonForbidden = "Forbidden"
	// ReasonReconcileError: the API server answered with an error; it is tried again.
	ReasonReconcileError = "ReconcileError"
	// ReasonPaused: the object carries the annotation memkeep.io/paused.
	ReasonPaused = "Paused"
	// ReasonTemplatePinned: the running template is older than what this operator would render.
	ReasonTemplatePinned = "TemplatePinned"
	// ReasonTemplateCurrent: the running template is what this operator would render.
	ReasonTemplateCurrent = "TemplateCurrent"
	// ReasonDeleting: the object is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonProgressing: work goes on.
	ReasonProgressing = "Progressing"
)

// Reasons of events that no condition has.
const (
	// ReasonWouldBeCutOff: in mode Audit somebody is connected whom Enforce would refuse.
	ReasonWouldBeCutOff = "WouldBeCutOff"
	// ReasonClientsCutOff: a change of access cuts off somebody who is connected.
	ReasonClientsCutOff = "ClientsCutOff"
)

// Labels and annotations that the operator reads or writes.
const (
	// LabelName carries the fleet's name on pods and children.
	LabelName = "memkeep.io/name"
	// LabelComponent tells what a pod is: ComponentCache, ComponentOperator or ComponentProber.
	LabelComponent = "memkeep.io/component"
	// ComponentCache marks a fleet's pods.
	ComponentCache = "cache"
	// ComponentOperator marks the operator's pods.
	ComponentOperator = "operator"
	// ComponentProber marks the pods that dial fleets from outside.
	ComponentProber = "prober"
	// LabelProber tells what part a prober plays: ProberOutsider or ProberDecoy.
	LabelProber = "memkeep.io/prober"
	// ProberOutsider marks probers that dial fleets and must not get in.
	ProberOutsider = "outsider"
	// ProberDecoy marks probers that outsiders reach in a fleet's place.
	ProberDecoy = "decoy"
	// LabelManagedBy is the common label whose value ManagedBy marks every child.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy and the operator's field manager.
	ManagedBy = "memkeep"
	// ClientLabelPrefix begins the namespace label that admits clients to one
	// fleet: client.memkeep.io/<namespace>.<fleet>: "true".
	ClientLabelPrefix = "client.memkeep.io/"
	// AnnotationPaused stops everything but access while it is present with the value "true".
	AnnotationPaused = "memkeep.io/paused"
	// AnnotationUpdate asks for a fresh pod template whenever its value changes.
	AnnotationUpdate = "memkeep.io/update"
)

// Ports of a fleet's pods.
const (
	// PortCache is the plain cache port.
	PortCache = 11211
	// PortCacheTLS is the cache port for TLS.
	PortCacheTLS = 11212
	// PortControl is the control port: mutual TLS, the operator only.
	PortControl = 11213
	// PortMetrics is the metrics and health port.
	PortMetrics = 9150
)

// ClientLabel returns the namespace label key that admits clients to a fleet.
func ClientLabel(namespace, name string) string {
	return ClientLabelPrefix + namespace + "." + name
}
