// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parseSize reads a number of bytes with an optional k, m or g behind it, as memcached's -I does.
func parseSize(text string) (int64, error) {
	unit := int64(1)
	digits := text
	if text != "" {
		switch strings.ToLower(text[len(text)-1:]) {
		case "k":
			unit = 1 << 10
		case "m":
			unit = 1 << 20
		case "g":
			unit = 1 << 30
		}
		if unit > 1 {
			digits = text[:len(text)-1]
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > 1<<62/unit {
		return 0, fmt.Errorf("%q is no size: write a number of bytes, with k, m or g behind it if need be", text)
	}
	return n * unit, nil
}

// parsePort reads a TCP port.
func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port: write a number from 1 to 65535", text)
	}
	return int(n), nil
}
