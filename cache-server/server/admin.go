// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"slices"
	"strings"
)

// AdminCommand names a command that changes the server or tells of others' connections.
type AdminCommand string

// The admin commands, named as in the Memcache object's engine.adminCommands.
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

// AdminShutdown lets a client stop the server. A fleet never allows it: there the operator says what runs.
const AdminShutdown AdminCommand = "Shutdown"

// AllAdminCommands lists every admin command that a fleet may allow.
var AllAdminCommands = []AdminCommand{
	AdminFlushAll, AdminCacheMemlimit, AdminVerbosity, AdminStatsReset, AdminStatsDetail, AdminStatsConns,
	AdminStatsCachedump, AdminLRUCrawler, AdminWatch,
}

// ParseAdminCommands reads a comma-separated list of names. An empty list allows nothing.
func ParseAdminCommands(list string) ([]AdminCommand, error) {
	if list == "" {
		return nil, nil
	}
	var commands []AdminCommand
	for name := range strings.SplitSeq(list, ",") {
		c := AdminCommand(name)
		if !slices.Contains(AllAdminCommands, c) {
			return nil, fmt.Errorf("unknown admin command %q: use any of %s", name, joinAdmin(AllAdminCommands))
		}
		if slices.Contains(commands, c) {
			return nil, fmt.Errorf("admin command %q is listed twice", name)
		}
		commands = append(commands, c)
	}
	return commands, nil
}

func joinAdmin(commands []AdminCommand) string {
	names := make([]string, len(commands))
	for i, c := range commands {
		names[i] = string(c)
	}
	return strings.Join(names, ",")
}

// allowed tells whether clients may use an admin command.
func (s *Server) allowed(c AdminCommand) bool {
	return slices.Contains(s.cfg.AdminCommands, c)
}
