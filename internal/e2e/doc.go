// Package e2e has only tests: of the programs as they are built, as processes
// that publish, deliver, are asked by operators, and are killed. With
// POSTRIDER_TEST_FULL=1 they run at full size (make accept).
package e2e
