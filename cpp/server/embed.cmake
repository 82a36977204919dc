# Turns a file into a C++ array: cmake -DINPUT= -DOUTPUT= -DNAME= -P embed.cmake
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${hex}")
file(WRITE ${OUTPUT} "#include <string_view>\nnamespace loader::server {\nstatic const char kBytes[] = {${bytes} '\\0'};\nextern const std::string_view ${NAME};\nconst std::string_view ${NAME}(kBytes, sizeof kBytes - 1);\n}\n")
