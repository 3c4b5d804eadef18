// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
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
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Members",type=integer,JSONPath=`.status.readyReplicas`,description="members that are ready"
// +kubebuilder:printcolumn:name="Wanted",type=integer,JSONPath=`.spec.replicas`,description="members that are wanted"
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.spec.memory`,description="for items, per member"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.status.access.mode`,description="Enforce, or Audit: everyone is admitted"
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="AccessEnforced")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Widened",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="AccessWidened")].status`
// +kubebuilder:printcolumn:name="Updated",type=integer,priority=1,JSONPath=`.status.updatedReplicas`
// +kubebuilder:printcolumn:name="Ring",type=string,priority=1,JSONPath=`.status.endpoints.ring`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40",message="the name is the name of every child and pod: write at most 40 characters"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="the name begins with a letter and goes on with lower case letters, digits and '-': write, for instance, sessions"
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
	// +default={"observedGeneration":-1}
	// +optional
	Status MemcacheStatus `json:"status,omitzero"`
}

// MemcacheSpec is the wanted state of a fleet.
// +kubebuilder:validation:XValidation:rule="!has(self.engine) || !has(self.engine.maxItemSize) || quantity(string(self.engine.maxItemSize)).add(quantity(string(self.engine.maxItemSize))).compareTo(quantity(string(self.memory))) <= 0",message="engine.maxItemSize must be at most half of memory: write a smaller maxItemSize or a larger memory"
type MemcacheSpec struct {
	// replicas is the number of cache pods, 0 to 100. Leave it out of Git where
	// an autoscaler owns it.
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// memory is what each replica may use for items and their index, 64Mi to
	// 1Ti. The pod's memory limit follows from it.
	// +kubebuilder:validation:XValidation:rule="size(string(self)) <= 32 && isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('64Mi')) >= 0 && quantity(string(self)).compareTo(quantity('1Ti')) <= 0",message="memory must be from 64Mi to 1Ti: write, for instance, 1Gi"
	// +required
	Memory resource.Quantity `json:"memory,omitzero"`

	// cpu is each replica's CPU request, 1m to 256; 100m when absent. There is
	// no CPU limit.
	// +kubebuilder:validation:XValidation:rule="size(string(self)) <= 32 && isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('1m')) >= 0 && quantity(string(self)).compareTo(quantity('256')) <= 0",message="cpu must be from 1m to 256: write, for instance, 500m, or leave it out"
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

// EngineSpec holds the limits of the cache server.
// +kubebuilder:validation:MinProperties=0
type EngineSpec struct {
	// maxItemSize is the largest item, key and overhead included, 1Ki to 1Gi and
	// at most half of memory; 1Mi when absent.
	// +kubebuilder:validation:XValidation:rule="size(string(self)) <= 32 && isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('1Ki')) >= 0 && quantity(string(self)).compareTo(quantity('1Gi')) <= 0",message="engine.maxItemSize must be from 1Ki to 1Gi: write, for instance, 1Mi, or leave it out"
	// +optional
	MaxItemSize *resource.Quantity `json:"maxItemSize,omitempty"`

	// maxConnections is how many clients one replica serves at a time, 1 to
	// 1000000; 1024 when absent. Each adds 24Ki to the pod's memory limit.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// adminCommands lists the administrative commands that clients may use.
	// Absent or empty means none.
	// +listType=set
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=9
	// +optional
	AdminCommands []AdminCommand `json:"adminCommands,omitempty"`
}

// AdminCommand is a memcached command that changes or reveals more than one item.
// +kubebuilder:validation:Enum=FlushAll;CacheMemlimit;Verbosity;StatsReset;StatsDetail;StatsConns;StatsCachedump;LRUCrawler;Watch
type AdminCommand string

// The administrative commands.
const (
	AdminFlushAll       AdminCommand = "FlushAll"
	AdminCacheMemlimit  AdminCommand = "CacheMemlimit"
	AdminVerbosity      AdminCommand = "Verbosity"
	AdminStatsReset     AdminCommand = "StatsReset"
	AdminStatsDetail    AdminCommand = "StatsDetail"
	AdminStatsConns     AdminCommand = "StatsConns"
	AdminStatsCachedump AdminCommand = "StatsCachedump"
	AdminLRUCrawler     AdminCommand = "LRUCrawler"
	AdminWatch          AdminCommand = "Watch"
)

// MemcacheStatus is what the operator saw last.
// +kubebuilder:validation:MinProperties=0
type MemcacheStatus struct {
	// conditions are the fleet's conditions; docs/conditions.md has a line for each reason.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation whose whole spec was acted on; -1
	// until the operator has seen the object.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is the number of pods that exist.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Replicas int32 `json:"replicas"`

	// readyReplicas is the number of pods that are ready.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// updatedReplicas is the number of pods of the current template.
	// +kubebuilder:validation:Minimum=0
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas"`

	// selector picks the fleet's pods, in the form that the scale subresource needs.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Selector string `json:"selector,omitempty"`

	// templateRevision is the pinned pod template's revision.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	TemplateRevision string `json:"templateRevision,omitempty"`

	// members are the fleet's pods in the order of their ordinals.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=100
	// +optional
	Members []Member `json:"members,omitempty"`

	// access is what is known about who may connect.
	// +optional
	Access *AccessStatus `json:"access,omitempty"`

	// endpoints are the addresses that clients use.
	// +optional
	Endpoints *Endpoints `json:"endpoints,omitempty"`
}

// Member is one pod of a fleet.
type Member struct {
	// name is the pod's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name,omitempty"`

	// state is Ready, NotReady, Outdated or Terminating.
	// +optional
	State MemberState `json:"state,omitempty"`

	// enforcement is what the last proof said about this member: Proven, Refuted
	// or Unknown. Absent means that there was none.
	// +optional
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// Enforcement is what a proof said about one member.
// +kubebuilder:validation:Enum=Proven;Refuted;Unknown
type Enforcement string

// The outcomes of a proof.
const (
	EnforcementProven  Enforcement = "Proven"
	EnforcementRefuted Enforcement = "Refuted"
	EnforcementUnknown Enforcement = "Unknown"
)

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
// +kubebuilder:validation:MinProperties=0
type Endpoints struct {
	// ring is the headless Service with one stable name per member, members that
	// are not ready included: what a client-side hash ring wants.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Ring string `json:"ring,omitempty"`

	// ready is the Service that picks any ready member.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
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
