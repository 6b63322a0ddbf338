# SPDX-License-Identifier: Apache-2.0
# run(COMMAND...): fails with its output unless the command succeeds.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result TIMEOUT 500)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed (${result}): ${ARGN}")
  endif()
endfunction()
