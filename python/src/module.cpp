// SPDX-License-Identifier: Apache-2.0
// chiral._native: what the package chiral stands on. Not for users.
#include "held_server.hpp"

#include <exception>
#include <system_error>

namespace nb = nanobind;

namespace {

// OSError with its errno, as programs expect of a port that is taken.
void translate(const std::exception_ptr& error, void*) {
    try {
        std::rethrow_exception(error);
    } catch (const std::system_error& system) {
        nb::object arguments = nb::make_tuple(system.code().value(), system.what());
        PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
}

}  // namespace

NB_MODULE(_native, module) {
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        throw nb::import_error("chiral works in the main interpreter only: its threads call back into that one");
    nb::set_leak_warnings(false);  // daemon sensor threads keep their server to the end of the process, as they may
    nb::register_exception_translator(&translate);
    chiral::python::bind_server(module);
    chiral::python::bind_views(module);
    chiral::python::bind_client(module);
    chiral::python::bind_probe(module);
    module.def("shut_down", &chiral::python::shut_down);
    module.def("after_fork_in_child", &chiral::python::after_fork_in_child);
    module.def("drop_buried", &chiral::python::drop_buried);
}
