// Package hostile attacks the data path and its tables: packets that nobody
// honest would send, tables that a crash left half-written, and changes of the
// tables under traffic. Each test says what an attacker or an accident would gain.
package hostile
