// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AccessSpec names the peers that a fleet's NetworkPolicy admits.
// +kubebuilder:validation:MinProperties=0
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
