// Package ui is all that a person sees: tables, progress, questions, and the words around them. It knows the types of
// the API and nothing of how they were got.
//
// Results go to Out; banners, progress, questions, hints and errors go to Err. Text that comes from a server passes
// [Clean] before it is printed.
package ui
