// Every error leaves with its code, its name and who must act.
#include "server/error_table.h"

#include <gtest/gtest.h>

#include <set>

namespace loader::server {
namespace {

TEST(ErrorTable, CodesAndNamesAreUnique) {
  std::set<ErrorCode> codes;
  std::set<std::string_view> names;
  for (const ErrorRow& row : kErrorTable) {
    EXPECT_TRUE(codes.insert(row.code).second) << row.name;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(grpc::code_name(static_cast<grpc::Code>(row.grpc)), row.grpc_name);
  }
}

TEST(ErrorTable, AStatusCarriesErrorInfoAndOurError) {
  grpc::Status status = to_status({ErrorCode::ENGINE_ERROR, "it failed", 42, "boom"});
  EXPECT_EQ(status.code, grpc::Code::kUnknown);
  EXPECT_EQ(status.message, "it failed");
  for (const char* part :
       {"type.googleapis.com/google.rpc.ErrorInfo", "ENGINE_ERROR", "engine-loader", "engine_code",
        "42", "author", "boom", "type.googleapis.com/loader.v1.Error"}) {
    EXPECT_NE(status.details.find(part), std::string::npos) << part;
  }
}

TEST(ErrorTable, NoErrorIsAnOkStatus) {
  EXPECT_TRUE(to_status({}).is_ok());
}

}  // namespace
}  // namespace loader::server
