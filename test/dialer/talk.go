// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// maxValue bounds a value that talk reads and shows.
const maxValue = 16 << 20

// talk holds one conversation: every line sent is shown after ">", every line
// received after "<". It knows where memcached's replies end.
func talk(ctx context.Context, args []string, stdin io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("talk")
	timeout := fs.Duration("timeout", 5*time.Second, "")
	blank := fs.String("blank", " ", "")
	from := fs.String("from", "", "")
	if err := parse(fs, args, 1, -1); err != nil {
		return dialing.Failed, err
	}
	var lines []string
	for _, line := range fs.Args()[1:] {
		lines = append(lines, strings.ReplaceAll(line, *blank, " "))
	}
	if len(lines) == 0 {
		scanner := bufio.NewScanner(stdin)
		for scanner.Scan() {
			lines = append(lines, strings.TrimSuffix(scanner.Text(), "\r"))
		}
		if err := scanner.Err(); err != nil {
			return dialing.Failed, fmt.Errorf("read stdin: %w", err)
		}
	}
	dialer := &net.Dialer{Timeout: *timeout}
	if *from != "" {
		source, err := netip.ParseAddr(*from)
		if err != nil {
			return dialing.Failed, fmt.Errorf("%w: --from: %w", errUsage, err)
		}
		forge(dialer, source)
	}
	conn, report := connectBy(ctx, dialer, fs.Arg(0))
	if conn == nil {
		_, err := fmt.Fprintf(out, "%s: %s after %d ms\n", report.Address, report.Outcome, report.Millis)
		return report.Outcome, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(*timeout)); err != nil {
		return dialing.Failed, err
	}
	return converse(conn, lines, out)
}

// converse sends requests one after the other and reads each one's whole reply.
func converse(conn net.Conn, lines []string, out io.Writer) (dialing.Outcome, error) {
	in := bufio.NewReader(conn)
	for len(lines) > 0 {
		request := lines[:min(requestLines(lines[0]), len(lines))]
		lines = lines[len(request):]
		for _, line := range request {
			_, _ = fmt.Fprintln(out, ">", line)
		}
		if _, err := io.WriteString(conn, strings.Join(request, "\r\n")+"\r\n"); err != nil {
			o := dialing.ClassifyRead(err)
			_, _ = fmt.Fprintf(out, "  (%s)\n", o)
			return o, nil
		}
		if err := readReply(in, request[0], out); err != nil {
			o := dialing.ClassifyRead(err)
			_, _ = fmt.Fprintf(out, "  (%s)\n", o)
			return o, nil
		}
	}
	return dialing.Connected, nil
}

// storage are the commands that a line of data follows.
var storage = []string{"set", "add", "replace", "append", "prepend", "cas"}

// requestLines returns how many lines the request that begins with line has.
func requestLines(line string) int {
	fields := strings.Fields(line)
	if len(fields) > 0 && slices.Contains(storage, fields[0]) {
		return 2
	}
	return 1
}

// readReply reads and shows one reply, to the end that its command has.
func readReply(in *bufio.Reader, request string, out io.Writer) error {
	fields := strings.Fields(request)
	if len(fields) == 0 {
		fields = []string{""}
	}
	if len(fields) > 1 && fields[len(fields)-1] == "noreply" {
		return nil
	}
	many := slices.Contains([]string{"get", "gets", "gat", "gats", "stats"}, fields[0])
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if fields[0] == "quit" && err == io.EOF && line == "" {
				_, _ = fmt.Fprintln(out, "  (closed)")
				return nil
			}
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		_, _ = fmt.Fprintln(out, "<", line)
		if !many {
			return nil
		}
		head, _, _ := strings.Cut(line, " ")
		switch head {
		case "VALUE":
			if err := readValue(in, line, out); err != nil {
				return err
			}
		case "STAT":
		default:
			return nil
		}
	}
}

// readValue reads the data that a VALUE line announces.
func readValue(in *bufio.Reader, header string, out io.Writer) error {
	fields := strings.Fields(header)
	if len(fields) < 4 {
		return fmt.Errorf("a VALUE line of %d words", len(fields))
	}
	n, err := strconv.Atoi(fields[3])
	if err != nil || n < 0 || n > maxValue {
		return fmt.Errorf("a VALUE line with the length %q", fields[3])
	}
	data := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(in, data); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "< %s\n", data[:n])
	return nil
}
