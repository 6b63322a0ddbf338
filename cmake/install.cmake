# SPDX-License-Identifier: Apache-2.0
# find_package(chiral) for the installed package: chiral::engine, and chiral::server where it was built.
include(CMakePackageConfigHelpers)
set(CHIRAL_CONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/chiral)
install(EXPORT chiral-targets NAMESPACE chiral:: DESTINATION ${CHIRAL_CONFIG_DIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/chiral-config.cmake.in ${PROJECT_BINARY_DIR}/chiral-config.cmake
  INSTALL_DESTINATION ${CHIRAL_CONFIG_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/chiral-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/chiral-config.cmake ${PROJECT_BINARY_DIR}/chiral-config-version.cmake
  DESTINATION ${CHIRAL_CONFIG_DIR})
