# Finds what the build needs, or stops with the name of the Debian package that has it.

# require_header(<target> <header> <library> <apt package>): an imported target for one library.
function(require_header target header library package)
  find_path(${target}_INCLUDE ${header})
  find_library(${target}_LIBRARY ${library})
  if(NOT ${target}_INCLUDE OR NOT ${target}_LIBRARY)
    message(FATAL_ERROR "${header} or lib${library} not found: run `apt-get install ${package}`")
  endif()
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE ${${target}_INCLUDE})
  target_link_libraries(${target} INTERFACE ${${target}_LIBRARY})
endfunction()

# require_package(<cmake package> <apt package>): find_package with a cure.
macro(require_package name package)
  find_package(${name} QUIET)
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${name} not found: run `apt-get install ${package}`")
  endif()
endmacro()
