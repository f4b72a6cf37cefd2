// Package ipam decides which addresses Services have. It is pure: no clock, no network.
package ipam
