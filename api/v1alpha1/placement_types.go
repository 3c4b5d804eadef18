// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// PlacementSpec says where pods may run.
// +kubebuilder:validation:MinProperties=0
type PlacementSpec struct {
	// nodeSelector limits pods to nodes with these labels.
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 317 && !format.qualifiedName().validate(k).hasValue())",message="a key of nodeSelector is a label key: write name or domain/name, such as kubernetes.io/arch"
	// +optional
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// tolerations let pods run on tainted nodes.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// priorityClassName is the pods' priority class.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="priorityClassName is the name of a PriorityClass: write lower case letters, digits, '-' and '.', or leave it out"
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// spread says how pods are spread over nodes and zones.
	// +optional
	Spread SpreadSpec `json:"spread,omitzero"`
}

// Toleration lets pods run on nodes with a taint. It reads like a pod's, with bounds.
// +kubebuilder:validation:XValidation:rule="(has(self.key) && size(self.key) > 0) || (has(self.operator) && self.operator == 'Exists')",message="a toleration without key tolerates every taint: write operator: Exists if you mean that, or a key"
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || size(self.value) == 0",message="operator Exists takes no value: leave value out, or write operator: Equal"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",message="tolerationSeconds needs effect: NoExecute"
// +kubebuilder:validation:MinProperties=1
type Toleration struct {
	// key is the taint's key; absent together with operator Exists means every taint.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="key is a taint's key: write name or domain/name, such as node.kubernetes.io/memory-pressure"
	// +optional
	Key string `json:"key,omitempty"`

	// operator is Equal (when absent) or Exists.
	// +optional
	Operator TolerationOperator `json:"operator,omitempty"`

	// value is the taint's value, for operator Equal.
	// +optional
	Value *LabelValue `json:"value,omitempty"`

	// effect is the taint's effect; absent means every effect.
	// +optional
	Effect TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long a pod stays once the taint appears, for
	// effect NoExecute; absent means for ever.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TolerationOperator relates a toleration's key to its value.
// +kubebuilder:validation:Enum=Equal;Exists
type TolerationOperator string

// The operators of a toleration.
const (
	TolerationEqual  TolerationOperator = "Equal"
	TolerationExists TolerationOperator = "Exists"
)

// TaintEffect is what a taint does to pods that do not tolerate it.
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
type TaintEffect string

// The effects of a taint.
const (
	TaintNoSchedule       TaintEffect = "NoSchedule"
	TaintPreferNoSchedule TaintEffect = "PreferNoSchedule"
	TaintNoExecute        TaintEffect = "NoExecute"
)

// SpreadSpec says how pods are spread over failure domains.
// +kubebuilder:validation:MinProperties=0
type SpreadSpec struct {
	// nodes spreads pods over nodes; Preferred when absent.
	// +optional
	Nodes SpreadMode `json:"nodes,omitempty"`

	// zones spreads pods over zones; Preferred when absent.
	// +optional
	Zones SpreadMode `json:"zones,omitempty"`
}

// SpreadMode says how strictly pods are spread.
// +kubebuilder:validation:Enum=Preferred;Required
type SpreadMode string

// The spread modes.
const (
	SpreadPreferred SpreadMode = "Preferred"
	SpreadRequired  SpreadMode = "Required"
)
