// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

// Version is the version of these messages; State.Versions tells what a pod speaks.
const Version = 1

// Paths of the control port.
const (
	// PathRequest answers GET with a CertificateRequest.
	PathRequest = "/v1/certificate-request"
	// PathCertificate takes PUT of a Certificate.
	PathCertificate = "/v1/certificate"
	// PathState answers GET with a State.
	PathState = "/v1/state"
	// PathWatch answers GET with a State at once and another whenever something
	// in it has changed, one JSON object a line, until the caller closes.
	PathWatch = "/v1/watch"
	// PathDesired takes PUT of a Desired and answers with the State that follows.
	PathDesired = "/v1/desired"
	// PathConnections answers GET with Connections.
	PathConnections = "/v1/connections"
	// PathStatistics answers GET with Statistics.
	PathStatistics = "/v1/statistics"
	// PathDrain takes POST of a Drain and answers once it has begun.
	PathDrain = "/v1/drain"
	// PathDial takes POST of a Dial at a prober and answers with Dialled.
	PathDial = "/v1/dial"
	// PathEgress takes POST of an Egress at a cache and answers with a Result.
	PathEgress = "/v1/egress"
)

// CertificateRequest is a pod's wish for a certificate. Its key never leaves
// the pod's memory and is new with every start.
type CertificateRequest struct {
	// PEM is a PKCS #10 request.
	PEM string `json:"pem"`
}

// Certificate is what the operator signed.
type Certificate struct {
	// PEM is the certificate, and after it what leads to the CA, if anything.
	PEM string `json:"pem"`
}

// Desired is everything that the operator wants of a pod. What is nil stays as
// it is; what is there replaces what was before, as a whole.
type Desired struct {
	// Gate opens or closes the cache ports of a pod that was started with a gate.
	Gate *Gate `json:"gate,omitempty"`
	// Peers says who is served.
	Peers *Peers `json:"peers,omitempty"`
	// Membership is what clients discover about the fleet.
	Membership *Membership `json:"membership,omitempty"`
	// Limits are what the engine may use.
	Limits *Limits `json:"limits,omitempty"`
}

// Gate is whether clients are answered.
type Gate struct {
	// Open lets clients in. A pod that was started without a gate is always open
	// and refuses a Gate that closes it.
	Open bool `json:"open"`
	// Boot is the State.Boot that this is meant for; the pod refuses that of
	// another start. Empty means whichever.
	Boot string `json:"boot,omitempty"`
}

// Peers is the engine's own lock.
type Peers struct {
	// Verified serves nobody but Addresses. A pod that was started as verified
	// refuses a Peers that is not.
	Verified bool `json:"verified"`
	// Revision rises with every list that differs from the one before it.
	Revision int64 `json:"revision"`
	// Addresses are those of the pods that may connect, without port or zone.
	Addresses []string `json:"addresses,omitempty"`
}

// Membership is what clients discover about the fleet.
type Membership struct {
	// Version rises with every change.
	Version uint64 `json:"version"`
	// Nodes are the members in the order of their ordinals.
	Nodes []Node `json:"nodes,omitempty"`
}

// Node is one member as clients discover it.
type Node struct {
	// Host is a name that clients can resolve.
	Host string `json:"host"`
	// Address is the member's IP address; empty while it has none.
	Address string `json:"address,omitempty"`
	// Port is the cache port.
	Port uint16 `json:"port"`
}

// Limits are what the engine may use.
type Limits struct {
	// MemoryBytes is the budget for items and their index.
	MemoryBytes int64 `json:"memoryBytes"`
}

// State is what a pod knows about itself.
type State struct {
	// Versions are the lowest and the highest version of these messages that the pod speaks.
	Versions [2]int `json:"versions"`
	// PodUID is the pod's UID as the kubelet told it.
	PodUID string `json:"podUID"`
	// Boot is another one with every start of the process.
	Boot string `json:"boot"`
	// Build is the version of the program.
	Build string `json:"build"`
	// Listeners are the sockets that the pod accepts clients on.
	Listeners []Listener `json:"listeners,omitempty"`
	// GateRequired tells that the pod was started with a gate, and GateOpen that it serves.
	GateRequired bool `json:"gateRequired"`
	GateOpen     bool `json:"gateOpen"`
	// Peers is the lock in force.
	Peers PeersState `json:"peers"`
	// Nonces are those of probes that reached a cache port, the last of them last.
	Nonces []string `json:"nonces,omitempty"`
	// MembershipVersion is the version of the membership in force; 0 for none.
	MembershipVersion uint64 `json:"membershipVersion"`
	// MemoryBytes is the budget in force.
	MemoryBytes int64 `json:"memoryBytes"`
	// Draining tells that the pod is on its way out.
	Draining bool `json:"draining"`
	// CertificateNotAfter is the Unix second at which the pod's certificate ends; 0 while it has none.
	CertificateNotAfter int64 `json:"certificateNotAfter"`
}

// Listener is a socket that a pod accepts clients on.
type Listener struct {
	// Address is where it listens, as host:port.
	Address string `json:"address"`
	// Accepting tells that the kernel has it listening and that the server takes
	// connections from it, the pod having looked at the moment of the answer.
	Accepting bool `json:"accepting"`
}

// PeersState is the lock in force.
type PeersState struct {
	// Verified tells that nobody but the listed addresses is served.
	Verified bool `json:"verified"`
	// Revision is that of the list in force; 0 while there is none, and nobody is served.
	Revision int64 `json:"revision"`
	// Count is how many addresses the list has.
	Count int `json:"count"`
	// Updated is the Unix second at which the operator last confirmed the list.
	Updated int64 `json:"updated"`
	// Held are addresses that are not in the list and wait for an answer.
	Held []string `json:"held,omitempty"`
}

// Connections is who is connected to a pod's cache ports.
type Connections struct {
	// Peers are in the order of their addresses.
	Peers []Peer `json:"peers"`
	// Left is how many connections come from addresses that there was no room for.
	Left int `json:"left,omitempty"`
}

// Peer is an address that is connected.
type Peer struct {
	// Address is the peer's, without port or zone.
	Address string `json:"address"`
	// Connections is how many there are now.
	Connections int `json:"connections"`
	// Since is the Unix second at which the oldest of them was accepted.
	Since int64 `json:"since"`
}

// Statistics are a pod's numbers by memcached's names.
type Statistics struct {
	// General are those of the stats command.
	General map[string]string `json:"general"`
}

// Drain has a pod stop accepting and answer what has begun.
type Drain struct {
	// Seconds is how long it may take.
	Seconds int `json:"seconds"`
}

// Dial has a prober connect somewhere.
type Dial struct {
	// Targets are tried side by side, at most MaxTargets.
	Targets []Target `json:"targets"`
}

// MaxTargets bounds one Dial.
const MaxTargets = 32

// Target is one address that a prober connects to.
type Target struct {
	// Network is tcp or udp.
	Network string `json:"network"`
	// Address is host:port, the host being an IP address.
	Address string `json:"address"`
	// Nonce is sent to whoever accepts, so that it can testify; empty for nothing
	// to be sent.
	Nonce string `json:"nonce,omitempty"`
	// TimeoutMillis is how long it may take.
	TimeoutMillis int `json:"timeoutMillis"`
}

// Dialled answers a Dial, a result for each target in the same order.
type Dialled struct {
	// Results are what became of each target.
	Results []Result `json:"results"`
}

// Outcome is what became of a connection.
type Outcome string

// The outcomes of dialling.
const (
	// Connected: the other side accepted.
	Connected Outcome = "Connected"
	// Answered: over UDP, something came back.
	Answered Outcome = "Answered"
	// TimedOut: nothing came back at all.
	TimedOut Outcome = "TimedOut"
	// Refused: the other side, or something before it, reset the connection.
	Refused Outcome = "Refused"
	// Unreachable: the network said that there is no way.
	Unreachable Outcome = "Unreachable"
	// Failed: the prober itself could not try.
	Failed Outcome = "Failed"
)

// Result is what became of one target.
type Result struct {
	// Outcome says it in a word.
	Outcome Outcome `json:"outcome"`
	// Micros is how long it took.
	Micros int64 `json:"micros"`
	// Error is what the system said, if anything.
	Error string `json:"error,omitempty"`
	// Reply is the beginning of what came back, at most MaxReply bytes, where a
	// Nonce was sent.
	Reply string `json:"reply,omitempty"`
}

// DecoyPort is the port of a decoy that members try to connect to.
const DecoyPort = 11211

// MaxReply is how much of a reply a prober reads.
const MaxReply = 64

// Egress has a cache try to connect to a decoy, which the fleet's policy
// forbids. Nothing is sent.
type Egress struct {
	// Address is host:port, the host being an IP address and the port the cache port.
	Address string `json:"address"`
	// TimeoutMillis is how long it may take.
	TimeoutMillis int `json:"timeoutMillis"`
}

// NonceCommand is the line by which a probe tells a cache its nonce:
// NonceCommand, a blank, the nonce, CR LF. The cache notes the nonce before any
// lock of its own is asked, answers nothing and closes.
const NonceCommand = "memkeep-probe"

// DecoyReply is all that a decoy ever says, followed by CR LF.
const DecoyReply = "memkeep-decoy"

// MaxNonce is the longest nonce, in bytes; they are letters and digits.
const MaxNonce = 64
