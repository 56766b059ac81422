# find_package(tickstore) gives tickstore::tickstore, and tickstore::tickstore_static where the development files of
# what the library stands on (sqlite3, libuv, jansson) are installed too.
include("${CMAKE_CURRENT_LIST_DIR}/tickstore-targets.cmake")

find_package(PkgConfig QUIET)
find_package(Threads QUIET)
if(PKG_CONFIG_FOUND AND Threads_FOUND)
  foreach(module sqlite3 libuv jansson)
    if(NOT TARGET PkgConfig::${module})
      pkg_check_modules(${module} QUIET IMPORTED_TARGET GLOBAL ${module})
    endif()
  endforeach()
  if(TARGET PkgConfig::sqlite3 AND TARGET PkgConfig::libuv AND TARGET PkgConfig::jansson)
    include("${CMAKE_CURRENT_LIST_DIR}/tickstore-static-targets.cmake")
  endif()
endif()
