// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Memcache is a fleet of memcached-compatible caches that nobody reaches unless
// the object names them.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=mcache,categories=caches
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
type Memcache struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata. The name becomes the name of every
	// child; at most 40 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the fleet should be. The operator never writes it.
	// +required
	Spec MemcacheSpec `json:"spec,omitzero"`

	// status is what the operator saw last.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status MemcacheStatus `json:"status,omitzero"`
}

// MemcacheSpec is the wanted state of a fleet.
type MemcacheSpec struct {
	// replicas is the number of cache pods, 0 to 100. Leave it out of Git where
	// an autoscaler owns it.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// memory is what each replica may use for items and their index, 64Mi to
	// 1Ti. The pod's memory limit follows from it.
	// +required
	Memory resource.Quantity `json:"memory,omitzero"`

	// cpu is each replica's CPU request; 100m when absent. There is no CPU limit.
	// +optional
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// access says who may connect. Absent means nobody.
	// +optional
	Access AccessSpec `json:"access,omitzero"`

	// engine holds the limits of the cache server.
	// +optional
	Engine EngineSpec `json:"engine,omitzero"`

	// placement says where pods may run.
	// +optional
	Placement PlacementSpec `json:"placement,omitzero"`
}

// AccessSpec names the peers that a fleet's NetworkPolicy admits.
type AccessSpec struct {
	// clients may connect to the cache port. Absent or empty means nobody.
	// +listType=map
	// +listMapKey=name
	// +optional
	Clients []Peer `json:"clients,omitempty"`

	// metrics may connect to the metrics port. Absent or empty means nobody.
	// +listType=map
	// +listMapKey=name
	// +optional
	Metrics []Peer `json:"metrics,omitempty"`
}

// Peer is a set of pods by the labels of their namespace and, optionally, their own.
type Peer struct {
	// name tells entries of the list apart.
	// +required
	Name string `json:"name,omitempty"`

	// namespaceSelector picks namespaces. It needs a matchLabels entry or an
	// expression with operator In: an empty selector, or one that only
	// excludes, would admit strangers.
	// +required
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector,omitzero"`

	// podSelector narrows the peer to pods with these labels in those namespaces.
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
}

// EngineSpec holds the limits of the cache server.
type EngineSpec struct {
	// maxItemSize is the largest item, key and overhead included, 1Ki to half of
	// memory; 1Mi when absent.
	// +optional
	MaxItemSize *resource.Quantity `json:"maxItemSize,omitempty"`

	// maxConnections is how many clients one replica serves at a time; 1024 when absent.
	// +optional
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// adminCommands lists the administrative commands that clients may use.
	// Absent or empty means none.
	// +listType=set
	// +optional
	AdminCommands []AdminCommand `json:"adminCommands,omitempty"`
}

// AdminCommand is a memcached command that changes or reveals more than one item.
// +kubebuilder:validation:Enum=FlushAll;CacheMemlimit;Verbosity;StatsReset;StatsDetail;StatsConns
type AdminCommand string

// The administrative commands.
const (
	AdminFlushAll      AdminCommand = "FlushAll"
	AdminCacheMemlimit AdminCommand = "CacheMemlimit"
	AdminVerbosity     AdminCommand = "Verbosity"
	AdminStatsReset    AdminCommand = "StatsReset"
	AdminStatsDetail   AdminCommand = "StatsDetail"
	AdminStatsConns    AdminCommand = "StatsConns"
)

// PlacementSpec says where pods may run.
type PlacementSpec struct {
	// nodeSelector limits pods to nodes with these labels.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations lets pods run on tainted nodes.
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// priorityClassName is the pods' priority class.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// spread says how pods are spread over nodes and zones.
	// +optional
	Spread SpreadSpec `json:"spread,omitzero"`
}

// SpreadSpec says how pods are spread over failure domains.
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

// MemcacheStatus is what the operator saw last.
type MemcacheStatus struct {
	// conditions are the fleet's conditions; docs/conditions.md has a line for each reason.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation whose whole spec was acted on; -1
	// until the operator has seen the object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is the number of pods that exist.
	// +optional
	Replicas int32 `json:"replicas"`

	// readyReplicas is the number of pods that are ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// updatedReplicas is the number of pods of the current template.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas"`

	// selector picks the fleet's pods, in the form that the scale subresource needs.
	// +optional
	Selector string `json:"selector,omitempty"`

	// templateRevision is the pinned pod template's revision.
	// +optional
	TemplateRevision string `json:"templateRevision,omitempty"`

	// members are the fleet's pods in the order of their ordinals.
	// +listType=map
	// +listMapKey=name
	// +optional
	Members []Member `json:"members,omitempty"`

	// endpoints are the addresses that clients use.
	// +optional
	Endpoints *Endpoints `json:"endpoints,omitempty"`
}

// Member is one pod of a fleet.
type Member struct {
	// name is the pod's name.
	// +required
	Name string `json:"name,omitempty"`

	// state is Ready, NotReady, Outdated or Terminating.
	// +optional
	State MemberState `json:"state,omitempty"`
}

// MemberState says what a member is doing.
// +kubebuilder:validation:Enum=Ready;NotReady;Outdated;Terminating
type MemberState string

// The member states. Outdated is a ready pod of an older template.
const (
	MemberReady       MemberState = "Ready"
	MemberNotReady    MemberState = "NotReady"
	MemberOutdated    MemberState = "Outdated"
	MemberTerminating MemberState = "Terminating"
)

// Endpoints are the addresses that clients use.
type Endpoints struct {
	// ring is the headless Service with one stable name per member, members that
	// are not ready included: what a client-side hash ring wants.
	// +optional
	Ring string `json:"ring,omitempty"`

	// ready is the Service that picks any ready member.
	// +optional
	Ready string `json:"ready,omitempty"`
}

// MemcacheList is a list of Memcache objects.
//
// +kubebuilder:object:root=true
type MemcacheList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard list metadata.
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the objects.
	Items []Memcache `json:"items"`
}
