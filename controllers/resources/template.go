// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// Annotations on the StatefulSet that pin the pod template.
const (
	// AnnotationTemplate holds the pinned template as it was rendered.
	AnnotationTemplate = "memkeep.io/template"
	// AnnotationTemplateInputs holds the hash of what the user wrote when the
	// template was rendered.
	AnnotationTemplateInputs = "memkeep.io/template-inputs"
	// AnnotationTemplateRevision holds the revision of the pinned template.
	AnnotationTemplateRevision = "memkeep.io/template-revision"
)

// Template is a rendered pod template and what it came from.
type Template struct {
	// Spec is the template.
	Spec *applycorev1.PodTemplateSpecApplyConfiguration
	// JSON is Spec in the form that is pinned.
	JSON string
	// Inputs is the hash of the parts of the Memcache that the template depends on.
	Inputs string
	// Revision is the hash of JSON.
	Revision string
}

// templateInputs is what a user can write that changes the pods. It is hashed
// as written, without effective defaults: a later operator with another default
// must not take the same spec for a changed one. For the same reason a field
// added here needs omitempty or omitzero.
type templateInputs struct {
	Memory    string                 `json:"memory"`
	CPU       string                 `json:"cpu,omitempty"`
	Engine    engineInputs           `json:"engine,omitzero"`
	Placement v1alpha1.PlacementSpec `json:"placement,omitzero"`
	Update    string                 `json:"update,omitempty"`
	// Gated and Verified are spec.access' part of the pods: who may connect is not theirs to know.
	Gated    bool `json:"gated,omitempty"`
	Verified bool `json:"verified,omitempty"`
}

type engineInputs struct {
	MaxItemSize    string   `json:"maxItemSize,omitempty"`
	MaxConnections *int32   `json:"maxConnections,omitempty"`
	AdminCommands  []string `json:"adminCommands,omitempty"`
}

// Gated tells whether a fleet's pods start with a closed gate: they answer
// nobody until it has been proven that the policy holds.
func Gated(m *v1alpha1.Memcache) bool {
	return m.Spec.Access.EffectiveVerification() == v1alpha1.VerificationRequired
}

// Verified tells whether a fleet's pods serve nobody but the addresses that the
// operator lists.
func Verified(m *v1alpha1.Memcache) bool {
	return m.Spec.Access.EffectivePeers() == v1alpha1.PeersVerified
}

// TemplateInputs returns the hash of everything in m that the pod template
// depends on.
func TemplateInputs(m *v1alpha1.Memcache) (string, error) {
	in := templateInputs{
		Memory:    m.Spec.Memory.String(),
		Engine:    engineInputs{MaxConnections: m.Spec.Engine.MaxConnections, AdminCommands: adminCommands(m)},
		Placement: m.Spec.Placement,
		Update:    m.Annotations[v1alpha1.AnnotationUpdate],
		Gated:     Gated(m),
		Verified:  Verified(m),
	}
	if m.Spec.CPU != nil {
		in.CPU = m.Spec.CPU.String()
	}
	if m.Spec.Engine.MaxItemSize != nil {
		in.Engine.MaxItemSize = m.Spec.Engine.MaxItemSize.String()
	}
	data, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("encode template inputs: %w", err)
	}
	return shortHash(data), nil
}

// RenderTemplate renders the pod template of m afresh.
func RenderTemplate(m *v1alpha1.Memcache, s Settings) (Template, error) {
	inputs, err := TemplateInputs(m)
	if err != nil {
		return Template{}, err
	}
	spec := PodTemplate(m, s)
	data, err := json.Marshal(spec)
	if err != nil {
		return Template{}, fmt.Errorf("encode pod template: %w", err)
	}
	return Template{Spec: spec, JSON: string(data), Inputs: inputs, Revision: shortHash(data)}, nil
}

// PinnedTemplate reads back the template that the annotations of a StatefulSet
// pin. It answers false where there is none, or one that was tampered with.
func PinnedTemplate(annotations map[string]string) (Template, bool) {
	t := Template{
		JSON:     annotations[AnnotationTemplate],
		Inputs:   annotations[AnnotationTemplateInputs],
		Revision: annotations[AnnotationTemplateRevision],
	}
	if t.JSON == "" || t.Inputs == "" || shortHash([]byte(t.JSON)) != t.Revision {
		return Template{}, false
	}
	t.Spec = &applycorev1.PodTemplateSpecApplyConfiguration{}
	if err := json.Unmarshal([]byte(t.JSON), t.Spec); err != nil {
		return Template{}, false
	}
	return t, true
}

// ChooseTemplate returns the template to run: the pinned one while the user's
// inputs are what they were, else the fresh one. outdated tells that the fresh
// one differs from the one that was chosen.
func ChooseTemplate(fresh Template, annotations map[string]string) (chosen Template, outdated bool) {
	pinned, ok := PinnedTemplate(annotations)
	if !ok || pinned.Inputs != fresh.Inputs {
		return fresh, false
	}
	return pinned, pinned.Revision != fresh.Revision
}

func (t *Template) annotations() map[string]string {
	return map[string]string{
		AnnotationTemplate:         t.JSON,
		AnnotationTemplateInputs:   t.Inputs,
		AnnotationTemplateRevision: t.Revision,
	}
}

func shortHash(parts ...[]byte) string {
	sum := sha256.Sum256(slices.Concat(parts...))
	return hex.EncodeToString(sum[:5])
}
