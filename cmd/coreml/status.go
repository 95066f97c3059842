package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/breaker"
	"coreml/internal/status"
)

func statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [PID…]",
		Short: "Show what running processes say of their models",
		Long: `Status prints the live telemetry of processes of this user that run models and
let it be seen: those with COREML_STATUS=1 in their environment, with --status, or
whose program sets Options.Status. Numbers select processes.`,
		Example: "  COREML_STATUS=1 ./server &\n  coreml status\n  coreml status --json 4711",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := processes(args)
			if err != nil {
				return err
			}
			if asJSON {
				return printStatusJSON(cmd.OutOrStdout(), all)
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no process shows its models; start one with COREML_STATUS=1")
			}
			return printStatus(cmd.OutOrStdout(), all)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a list with an object for each process")
	return c
}

// processes are those that serve, or those of the given numbers.
func processes(pids []string) ([]status.Address, error) {
	dir, err := status.Dir()
	if err != nil {
		return nil, err
	}
	all, err := status.List(dir)
	if err != nil || len(pids) == 0 {
		return all, err
	}
	var some []status.Address
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("status: %q: want the number of a process", text)}
		}
		i := slices.IndexFunc(all, func(a status.Address) bool { return a.PID == pid })
		if i < 0 {
			return nil, fmt.Errorf("status: process %d: %w: it shows no models", pid, coreml.ErrLoad)
		}
		some = append(some, all[i])
	}
	return some, nil
}

func printStatusJSON(w io.Writer, all []status.Address) error {
	out := []json.RawMessage{}
	for _, a := range all {
		b, err := status.Get(a)
		if err != nil {
			return fmt.Errorf("%w: %w", coreml.ErrLoad, err)
		}
		out = append(out, b)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(out)
}

// live is coreml.Status as it is read back.
type live struct {
	Models []struct {
		Name      string           `json:"name"`
		Path      string           `json:"path"`
		Telemetry coreml.Telemetry `json:"telemetry"`
		Breakers  []liveBreaker    `json:"breakers"`
	} `json:"models"`
}

type liveBreaker struct {
	Backend string         `json:"backend"`
	Unit    string         `json:"unit"`
	State   string         `json:"state"`
	Reason  breaker.Reason `json:"reason"`
	Retry   time.Duration  `json:"retry_ns"`
	Trips   int            `json:"trips"`
	Refused int            `json:"refused"`
}

func printStatus(w io.Writer, all []status.Address) error {
	for i, a := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "process %d, %q, for %v\n", a.PID, a.Command, time.Since(a.Since).Round(time.Second))
		b, err := status.Get(a)
		var l live
		if err := errors.Join(err, json.Unmarshal(b, &l)); err != nil {
			fmt.Fprintf(w, "does not answer: %v\n", err)
			continue
		}
		for _, m := range l.Models {
			if m.Path != "" {
				fmt.Fprintf(w, "%q ", m.Path)
			}
			if err := m.Telemetry.WriteSummary(w); err != nil {
				return err
			}
			for _, b := range m.Breakers {
				fmt.Fprintf(w, "breaker of %s: %s, %d trips, %d requests kept from it", b.Backend, b.State, b.Trips, b.Refused)
				if b.Reason.Rule != "" {
					fmt.Fprintf(w, "; %s; next probe in %v", b.Reason, b.Retry.Round(time.Millisecond))
				}
				fmt.Fprintln(w)
			}
		}
	}
	return nil
}
