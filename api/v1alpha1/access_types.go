// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AccessSpec names the peers that a fleet's NetworkPolicy admits, and says how
// that is guarded and proven.
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'Audit' || !has(self.peers) || self.peers != 'Verified'",message="mode Audit admits everyone, which peers Verified would refuse: leave out one of the two"
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'Audit' || !has(self.verification) || self.verification != 'Required'",message="mode Audit admits everyone, so that there is nothing to prove: leave out verification Required, or mode Audit"
type AccessSpec struct {
	// clients may connect to the cache port. Absent or empty means nobody. The
	// label meant for clients is client.memkeep.io/<namespace>.<name>: "true" on
	// their namespace, with the namespace and name of this object; as in every
	// label, what follows the slash has at most 63 characters.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Clients []Peer `json:"clients,omitempty"`

	// metrics may connect to the metrics port. Absent or empty means nobody.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Metrics []Peer `json:"metrics,omitempty"`

	// mode is Enforce (when absent) or Audit. Audit admits everyone to the cache
	// port and reports who would be cut off by Enforce.
	// +optional
	Mode AccessMode `json:"mode,omitempty"`

	// peers is Policy (when absent) or Verified. Verified has the cache server
	// itself serve nobody but the addresses of the client pods, in depth behind
	// the NetworkPolicy. A change renders a new pod template.
	// +optional
	Peers PeerLock `json:"peers,omitempty"`

	// verification is BestEffort (when absent), Required or Disabled. Required
	// serves clients only once it has been proven, by dialling, that the cluster
	// enforces the policy. A change to or from Required renders a new pod template.
	// +optional
	Verification Verification `json:"verification,omitempty"`
}

// AccessMode says whether access is enforced or only watched.
// +kubebuilder:validation:Enum=Enforce;Audit
type AccessMode string

// The access modes.
const (
	AccessEnforce AccessMode = "Enforce"
	AccessAudit   AccessMode = "Audit"
)

// PeerLock says whom the cache server itself serves.
// +kubebuilder:validation:Enum=Policy;Verified
type PeerLock string

// The peer locks.
const (
	PeersPolicy   PeerLock = "Policy"
	PeersVerified PeerLock = "Verified"
)

// Verification says what follows from the proof of enforcement.
// +kubebuilder:validation:Enum=BestEffort;Required;Disabled
type Verification string

// The verifications.
const (
	VerificationBestEffort Verification = "BestEffort"
	VerificationRequired   Verification = "Required"
	VerificationDisabled   Verification = "Disabled"
)

// EffectiveMode returns the access mode; Enforce when absent.
func (a *AccessSpec) EffectiveMode() AccessMode {
	return cmp.Or(a.Mode, AccessEnforce)
}

// EffectivePeers returns whom the cache server serves; Policy when absent.
func (a *AccessSpec) EffectivePeers() PeerLock {
	return cmp.Or(a.Peers, PeersPolicy)
}

// EffectiveVerification returns what follows from the proof; BestEffort when absent.
func (a *AccessSpec) EffectiveVerification() Verification {
	return cmp.Or(a.Verification, VerificationBestEffort)
}

// AccessStatus is what is known about who may connect. It names no other
// tenant's namespaces or pods: those are for readers whose own rights show them.
// +kubebuilder:validation:MinProperties=0
type AccessStatus struct {
	// mode is the access mode in force.
	// +optional
	Mode AccessMode `json:"mode,omitempty"`

	// admittedNamespaces is how many namespaces the clients' selectors pick now.
	// +kubebuilder:validation:Minimum=0
	// +optional
	AdmittedNamespaces *int32 `json:"admittedNamespaces,omitempty"`

	// admittedPods is how many pods may connect to the cache port now by the
	// clients' selectors; known only while something needs the pods to be watched.
	// +kubebuilder:validation:Minimum=0
	// +optional
	AdmittedPods *int32 `json:"admittedPods,omitempty"`

	// wouldBeCutOff is how many connected addresses the clients' selectors do not
	// admit: in mode Audit those whom Enforce would refuse, as of now; in mode
	// Enforce those who were connected when the last change of access cut them off.
	// +kubebuilder:validation:Minimum=0
	// +optional
	WouldBeCutOff *int32 `json:"wouldBeCutOff,omitempty"`

	// wouldBeCutOffSince is since when there has been such an address: in mode
	// Audit without a break; in mode Enforce the time of that change.
	// +optional
	WouldBeCutOffSince *metav1.Time `json:"wouldBeCutOffSince,omitempty"`

	// widenedBy are the objects that admit more than this one does, most severe
	// first, as many as there is room for.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=16
	// +optional
	WidenedBy []Widening `json:"widenedBy,omitempty"`

	// notCovered says what the proof of enforcement did not try, and why.
	// +listType=set
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +optional
	NotCovered []string `json:"notCovered,omitempty"`
}

// Widening is an object that admits more to the fleet's pods than the Memcache does.
type Widening struct {
	// kind is the object's kind, such as NetworkPolicy or Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Kind string `json:"kind,omitempty"`

	// name is the object's name. It is in the fleet's namespace, has none, or is
	// in one that this status does not name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`

	// what is the part of the object that does it, the ports, and whom it admits.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	What string `json:"what,omitempty"`
}

// Peer is a set of pods by the labels of their namespace and, optionally, their own.
type Peer struct {
	// name tells entries of the list apart; a DNS label such as web.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="the name of a peer is a DNS label: write lower case letters, digits and '-', such as web"
	// +required
	Name string `json:"name,omitempty"`

	// namespaceSelector picks namespaces. It needs a matchLabels entry or an
	// expression with operator In: an empty selector, or one that only
	// excludes, would admit strangers. kubernetes.io/metadata.name is matched
	// by value only.
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && self.matchExpressions.exists(e, e.operator == 'In'))",message="namespaceSelector would admit strangers: write a matchLabels entry, such as kubernetes.io/metadata.name: shop, or an expression with operator In and values"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.key != 'kubernetes.io/metadata.name' || e.operator == 'In')",message="kubernetes.io/metadata.name is on every namespace: name the namespaces that you mean, by matchLabels or by operator In with values"
	// +required
	NamespaceSelector LabelSelector `json:"namespaceSelector,omitzero"`

	// podSelector narrows the peer to pods with these labels in those
	// namespaces. Absent or empty means every pod there.
	// +optional
	PodSelector *LabelSelector `json:"podSelector,omitempty"`
}

// LabelSelector picks objects by their labels. It reads like the LabelSelector
// of meta/v1, with bounds; everything in it must hold.
// +structType=atomic
// +kubebuilder:validation:MinProperties=0
type LabelSelector struct {
	// matchLabels are labels that an object must carry, with these values.
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 317 && !format.qualifiedName().validate(k).hasValue())",message="a key of matchLabels is a label key: write name or domain/name, such as app.kubernetes.io/name"
	// +optional
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are requirements that an object's labels must meet.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=8
	// +optional
	MatchExpressions []LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelSelectorRequirement relates a label key to values.
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="operators In and NotIn need values, Exists and DoesNotExist take none: write values: [...] or leave it out"
type LabelSelectorRequirement struct {
	// key is the label key that the requirement is about.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="key is a label key: write name or domain/name, such as app.kubernetes.io/name"
	// +required
	Key string `json:"key,omitempty"`

	// operator is the key's relation to the values: In, NotIn, Exists or DoesNotExist.
	// +required
	Operator LabelSelectorOperator `json:"operator,omitempty"`

	// values are what operators In and NotIn compare with; the others take none.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Values []LabelValue `json:"values,omitempty"`
}

// LabelSelectorOperator relates a label key to values.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type LabelSelectorOperator string

// The operators of a label selector's requirement.
const (
	SelectorIn           LabelSelectorOperator = "In"
	SelectorNotIn        LabelSelectorOperator = "NotIn"
	SelectorExists       LabelSelectorOperator = "Exists"
	SelectorDoesNotExist LabelSelectorOperator = "DoesNotExist"
)

// LabelValue is a label's value: at most 63 letters, digits, '-', '_' and '.',
// with a letter or digit at both ends; it may be empty.
// +kubebuilder:validation:MinLength=0
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
type LabelValue string
