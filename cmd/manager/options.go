// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/memkeep/memkeep/controllers/resources"
)

// options are the manager's flags.
type options struct {
	cacheImage              string
	imagePullPolicy         string
	imagePullSecrets        list
	watchNamespaces         list
	namespace               string
	leaderElect             bool
	leaderElectionNamespace string
	metricsAddress          string
	metricsCertPath         string
	healthAddress           string
	http2                   bool
	logFormat               string
	showVersion             bool
	zap                     zap.Options
}

// list is a flag of comma separated items.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	*l = nil
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

const usage = `manager keeps fleets of caches as their Memcache objects want them.

It finds the cluster by its ServiceAccount, by $KUBECONFIG or by --kubeconfig.

`

// parse reads flags, with fallbacks from the environment, and checks them.
func parse(args []string, env func(string) string, out io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("manager", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		fmt.Fprint(out, usage)
		fs.PrintDefaults()
	}
	o.bind(fs, env)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.showVersion {
		return o, nil
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the manager takes flags only, see --help", fs.Arg(0))
	}
	if o.leaderElectionNamespace == "" {
		o.leaderElectionNamespace = o.namespace
	}
	return o, o.check()
}

func (o *options) bind(fs *flag.FlagSet, env func(string) string) {
	fs.StringVar(&o.cacheImage, "cache-image", env("CACHE_IMAGE"),
		"image of the cache server, by tag or digest; required; $CACHE_IMAGE when absent")
	fs.StringVar(&o.imagePullPolicy, "image-pull-policy", "",
		"pull policy of fleet pods: Always, IfNotPresent or Never; Kubernetes' default when absent")
	fs.Var(&o.imagePullSecrets, "image-pull-secrets",
		"comma separated names of pull Secrets, looked up in each fleet's own namespace")
	fs.Var(&o.watchNamespaces, "watch-namespaces",
		"comma separated namespaces whose Memcaches are kept; all when absent")
	fs.StringVar(&o.namespace, "operator-namespace", env("POD_NAMESPACE"),
		"the operator's own namespace, refused as a client; $POD_NAMESPACE when absent")
	fs.BoolVar(&o.leaderElect, "leader-elect", false,
		"work only while holding the lease, so that several replicas can stand by")
	fs.StringVar(&o.leaderElectionNamespace, "leader-election-namespace", "",
		"namespace of the lease; the operator's own when absent")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443",
		"address of the metrics endpoint, HTTPS with authentication and authorization by the API server; 0 for none")
	fs.StringVar(&o.metricsCertPath, "metrics-cert-path", "",
		"directory with tls.crt and tls.key for the metrics endpoint, reloaded on change; self-signed when absent")
	fs.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081",
		"address of /healthz and /readyz; 0 for none")
	fs.BoolVar(&o.http2, "enable-http2", false, "serve metrics over HTTP/2, too")
	fs.StringVar(&o.logFormat, "log-format", "json", "format of the log: json or text")
	fs.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	if f := flag.Lookup("kubeconfig"); f != nil {
		fs.Var(f.Value, f.Name, f.Usage)
	}
	o.zap.TimeEncoder = zapcore.RFC3339NanoTimeEncoder
	// The others would contradict --log-format.
	all := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.zap.BindFlags(all)
	for name, usage := range map[string]string{
		"zap-log-level":        "verbosity of the log: debug, info, error, or a number above 0 for more than debug",
		"zap-stacktrace-level": "level from which on stack traces are logged: info, error or panic",
		"zap-time-encoding":    "format of times in the log: rfc3339nano (when absent), rfc3339, iso8601, epoch, nano",
	} {
		fs.Var(all.Lookup(name).Value, name, usage)
	}
}

// check says what is wrong with the options.
func (o *options) check() error {
	if o.cacheImage == "" {
		return errors.New("--cache-image is required: name the cache server's image, or set $CACHE_IMAGE")
	}
	if strings.ContainsAny(o.cacheImage, " \t\n") {
		return fmt.Errorf("--cache-image %q: an image has no blanks", o.cacheImage)
	}
	policies := []string{"", string(corev1.PullAlways), string(corev1.PullIfNotPresent), string(corev1.PullNever)}
	if !slices.Contains(policies, o.imagePullPolicy) {
		return fmt.Errorf("--image-pull-policy %q: write Always, IfNotPresent or Never", o.imagePullPolicy)
	}
	if o.logFormat != "json" && o.logFormat != "text" {
		return fmt.Errorf("--log-format %q: write json or text", o.logFormat)
	}
	for _, name := range o.imagePullSecrets {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			return fmt.Errorf("--image-pull-secrets: %q is not a Secret's name", name)
		}
	}
	for _, name := range append(slices.Clone(o.watchNamespaces), o.namespace, o.leaderElectionNamespace) {
		if name != "" && len(validation.IsDNS1123Label(name)) > 0 {
			return fmt.Errorf("%q is not a namespace's name: see --watch-namespaces, --operator-namespace and "+
				"--leader-election-namespace", name)
		}
	}
	if o.leaderElect && o.leaderElectionNamespace == "" {
		return errors.New("--leader-elect needs --leader-election-namespace, or $POD_NAMESPACE")
	}
	return errors.Join(
		checkAddress("--metrics-bind-address", o.metricsAddress),
		checkAddress("--health-probe-bind-address", o.healthAddress),
		o.checkCertificate())
}

func checkAddress(name, address string) error {
	if address == "0" {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s %q: write host:port, :port or 0", name, address)
	}
	return nil
}

// checkCertificate refuses a directory without certificate: the server would
// quietly fall back to a self-signed one.
func (o *options) checkCertificate() error {
	if o.metricsCertPath == "" {
		return nil
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if _, err := os.Stat(filepath.Join(o.metricsCertPath, name)); err != nil {
			return fmt.Errorf("--metrics-cert-path: %w", err)
		}
	}
	return nil
}

// settings returns what the flags decide for fleets.
func (o *options) settings() resources.Settings {
	return resources.Settings{
		CacheImage:       o.cacheImage,
		ImagePullPolicy:  corev1.PullPolicy(o.imagePullPolicy),
		ImagePullSecrets: o.imagePullSecrets,
	}
}

// ownNamespaces returns the namespaces that belong to the operator: its own,
// and the one of the outsiders that test access.
func (o *options) ownNamespaces() []string {
	if o.namespace == "" {
		return nil
	}
	return []string{o.namespace, o.outsiders()}
}

// outsiders returns the namespace of the probers; empty where the operator does
// not know its own.
func (o *options) outsiders() string {
	if o.namespace == "" {
		return ""
	}
	return o.namespace + "-outsider"
}

func (o *options) logger(out io.Writer) logr.Logger {
	readable := func(c *zapcore.EncoderConfig) { c.EncodeTime = o.zap.TimeEncoder }
	encoder := zap.JSONEncoder(readable)
	if o.logFormat == "text" {
		encoder = zap.ConsoleEncoder(readable)
	}
	return zap.New(zap.UseFlagOptions(&o.zap), encoder, zap.WriteTo(out))
}
