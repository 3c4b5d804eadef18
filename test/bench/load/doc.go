// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package load makes requests to a memcached-compatible server and checks every byte of the replies.
//
// One Driver is one operating system thread over one epoll set: it reads and writes with as few system calls as
// the server does, allocates nothing per request, and so costs less than what it measures. Closed loop sends the
// next batch on a connection once the last is answered. Open loop sends at times drawn beforehand whether or not
// the server keeps up, and counts latency from the time at which a request should have left, so that a server
// that stalls cannot hide its stall (no coordinated omission).
package load
