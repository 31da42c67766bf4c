package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// rivals are compared in each round, in this order. The first one is the yardstick.
var rivals = []system{
	postfix,
	worker("Publish, 16 connections", apart),
	worker("Publish, 16 at once", singly),
	worker("PublishAll", together),
	worker("PublishAll, acks alone", together, "POSTRIDER_PURGE=false"),
}

// compare has the rivals take turns, so that a slow spell of the machine hits all alike.
func (b bench) compare(ctx context.Context, out io.Writer, all []system, rounds, mails int) error {
	got := make([][]delivered, len(all))
	for round := range rounds {
		for i, s := range all {
			d, err := b.deliver(ctx, s, mails, false)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			got[i] = append(got[i], d)
			fmt.Fprintf(out, "round %d  %-24s %6.0f messages/s  %.3f CPU s/1,000  %d twice\n", round+1, s.name, d.perSecond(), d.cpuOf1000(), len(d.twice))
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%d rounds of %d mails\tmessages/s\tof %s\tlowest\thighest\tCPU s/1,000\n", rounds, mails, all[0].name)
	for i, s := range all {
		ratios := make([]float64, rounds)
		for n := range ratios {
			ratios[n] = got[i][n].perSecond() / got[0][n].perSecond()
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.3f\n", s.name, medianOf(got[i], delivered.perSecond), median(ratios), slices.Min(ratios), slices.Max(ratios), medianOf(got[i], delivered.cpuOf1000))
	}
	return w.Flush()
}

func (d delivered) perSecond() float64 { return float64(d.mails) / d.took.Seconds() }

func (d delivered) cpuOf1000() float64 { return d.cpu.Seconds() / float64(d.mails) * 1000 }

func medianOf(all []delivered, figure func(delivered) float64) float64 {
	figures := make([]float64, len(all))
	for i, d := range all {
		figures[i] = figure(d)
	}
	return median(figures)
}

// median is NaN of nothing.
func median(all []float64) float64 {
	if len(all) == 0 {
		return math.NaN()
	}
	all = slices.Sorted(slices.Values(all))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
