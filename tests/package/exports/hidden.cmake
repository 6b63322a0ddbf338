# SPDX-License-Identifier: Apache-2.0
# No library shows a name of a namespace that is private. (Boost's own names say for themselves that they are to be seen.)
#
#   cmake -DLIBRARIES="..." -P hidden.cmake
foreach(library IN LISTS LIBRARIES)
  execute_process(COMMAND nm --dynamic --defined-only --demangle ${library} OUTPUT_VARIABLE names COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[A-Za-z] chiral::(net|robot|websocket|local|zenoh|http|imaging|client|detail)::[^\n]*" shown "${names}")
  if(shown)
    message(FATAL_ERROR "${library} shows what is private: ${shown}")
  endif()
  if(NOT names MATCHES " chiral::")
    message(FATAL_ERROR "${library} shows nothing")
  endif()
endforeach()
