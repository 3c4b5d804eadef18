// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command argocd is three of Argo CD's own programs in one, chosen by the name
// that it is called by, as in Argo CD's own main: the repo server, the
// application controller and the helper that answers git's questions. The API
// server, its pages and the command line are left out.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	askpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/util/log"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

func main() {
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
	// Argo CD's own main calls grpc.DisableSRVLookups, which panics without a package that only the programs left out
	// here bring along. Such look-ups are off without it.
	var command *cobra.Command
	switch name := filepath.Base(os.Args[0]); name {
	case common.CommandRepoServer:
		command = reposerver.NewCommand()
	case common.CommandApplicationController:
		command = controller.NewCommand()
	case common.CommandGitAskPass:
		command = askpass.NewCommand()
	default:
		fmt.Fprintf(os.Stderr, "%s: call me %s, %s or %s\n", name,
			common.CommandRepoServer, common.CommandApplicationController, common.CommandGitAskPass)
		os.Exit(2)
	}
	if command.Execute() != nil {
		os.Exit(1)
	}
}
