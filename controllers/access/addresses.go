// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// Address returns an IP address in the one form in which addresses are
// compared; what is no address stays as it is.
func Address(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return s
	}
	return a.Unmap().WithZone("").String()
}

// Externals are the addresses at which a Service takes traffic besides its own:
// nodes rewrite what is sent there, whosever they are.
func Externals(s *corev1.Service) []string {
	var out []string
	for _, a := range s.Spec.ExternalIPs {
		out = append(out, Address(a))
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if a := s.Status.LoadBalancer.Ingress[i].IP; a != "" {
			out = append(out, Address(a))
		}
	}
	return out
}

// IsOwnService tells whether a name is one of a fleet's own two Services'.
func IsOwnService(fleet, service string) bool {
	m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Name: fleet}}
	return service == fleet || service == resources.ReadyServiceName(m)
}
