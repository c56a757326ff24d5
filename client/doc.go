// Package client makes Go calls of the PostgreSQL Migration API, and of the little that the plugin asks of the
// Cloud Controller.
//
// The token is asked for before each request, so that calls work for as long as the session does. Reading is
// repeated when it fails for a passing reason; what changes something is sent once, and whoever cannot tell what
// became of it learns so from [Error.Uncertain]. Redirects are errors: the token goes to one host only.
package client
