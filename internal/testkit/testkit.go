// Package testkit makes what the tests of several packages need: models built
// in memory, random graphs, hostile files. Only tests import it.
package testkit
