// Request header blocks are judged in the order of the rules; response blocks stay within bounds.
#include <gtest/gtest.h>

#include <limits>

#include "grpc/request_head.h"
#include "grpc/response_head.h"

namespace loader::grpc {
namespace {

struct Request {
  Options options;
  RequestHead::Kept kept;
  RequestHead head;
  Request() {
    head.start(&kept);
    add(":method", "POST");
    add(":path", "/a.B/C");
    add("content-type", "application/grpc");
  }
  void add(std::string_view n, std::string_view v) { head.add(n, v, options); }
  Code code() { return head.judge().code; }
};

std::string value_of(ResponseHead::Fields fields, std::string_view name) {
  for (const nghttp2_nv& f : fields)
    if (std::string_view(reinterpret_cast<char*>(f.name), f.namelen) == name)
      return {reinterpret_cast<char*>(f.value), f.valuelen};
  return "(absent)";
}

TEST(RequestHeadTest, APlainRequestIsAccepted) {
  Request r;
  EXPECT_EQ(r.head.http_refusal(), 0);
  EXPECT_EQ(r.code(), Code::kOk);
  EXPECT_EQ(r.head.path(), "/a.B/C");
  EXPECT_EQ(r.head.timeout_ns(), std::numeric_limits<int64_t>::max());
}

TEST(RequestHeadTest, ContentTypeEndsOrGoesOnWithPlusOrSemicolon) {
  for (auto [type, refusal] : {std::pair{"application/grpc", 0},
                               {"application/grpc+proto", 0},
                               {"application/grpc;charset=utf-8", 0},
                               {"application/grpc-web", 415},
                               {"application/json", 415},
                               {"", 415}}) {
    Request r;
    r.add("content-type", type);
    EXPECT_EQ(r.head.http_refusal(), refusal) << type;
  }
}

TEST(RequestHeadTest, OtherMethodsAreRefusedBeforeContentType) {
  Request r;
  r.add(":method", "GET");
  r.add("content-type", "text/html");
  EXPECT_EQ(r.head.http_refusal(), 405);
}

TEST(RequestHeadTest, ProtocolFieldsAreNoMetadata) {
  Request r;
  for (auto n : {"te", "user-agent", "grpc-timeout", "grpc-encoding", "host", "grpc-foo"})
    r.add(n, n == std::string_view("grpc-timeout") ? "1S" : "identity");
  r.add("x-mine", "  v  ");
  r.add("grpc-previous-rpc-attempts", "1");
  ASSERT_EQ(r.kept.metadata.size(), 2u);
  EXPECT_EQ(r.kept.metadata.find("x-mine"), "v");
  EXPECT_EQ(r.kept.authority, "identity") << "host stands in for :authority";
}

TEST(RequestHeadTest, BinaryValuesAreSplitAtCommasAndDecoded) {
  Request r;
  r.add("k-bin", "Zm9v, ,Zg==");
  ASSERT_EQ(r.kept.metadata.size(), 3u);
  EXPECT_EQ(r.kept.metadata[0].value, "foo");
  EXPECT_EQ(r.kept.metadata[1].value, "");
  EXPECT_EQ(r.kept.metadata[2].value, "f");
  r.add("k-bin", "A");
  EXPECT_EQ(r.code(), Code::kInternal);
}

TEST(RequestHeadTest, ARepeatedTimeoutIsMalformed) {
  Request r;
  r.add("grpc-timeout", "1S");
  EXPECT_EQ(r.code(), Code::kOk);
  r.add("grpc-timeout", "1S");
  EXPECT_EQ(r.code(), Code::kInternal);
}

TEST(RequestHeadTest, UnknownEncodingIsUnimplemented) {
  Request r;
  r.add("grpc-encoding", "snappy");
  EXPECT_EQ(r.code(), Code::kUnimplemented);
}

TEST(RequestHeadTest, OneByteOverTheHeaderLimitIsRefused) {
  Request r;
  size_t used = 7 + 4 + 5 + 6 + 12 + 16 + 3 * 32;
  r.options.max_header_bytes = static_cast<uint32_t>(used + 1 + 10 + 32);
  r.add("a", std::string(10, 'v'));
  EXPECT_EQ(r.code(), Code::kOk);
  Request over;
  over.options = r.options;
  over.add("a", std::string(11, 'v'));
  EXPECT_EQ(over.code(), Code::kResourceExhausted);
  EXPECT_TRUE(over.kept.metadata.is_empty());
}

TEST(RequestHeadTest, OneFieldOverTheLimitIsRefused) {
  Request r;
  r.options.max_header_fields = 4;
  r.add("a", "");
  EXPECT_EQ(r.code(), Code::kOk);
  r.add("b", "");
  EXPECT_EQ(r.code(), Code::kResourceExhausted);
}

TEST(RequestHeadTest, AHugeMessageTextStaysBelowTheClientsLimit) {
  HeadScratch scratch;
  ResponseHead head(scratch);
  Status status(Code::kInternal, std::string(1 << 16, '\x01'), std::string(4000, 'd'));
  auto fields = head.trailers(status, {});
  size_t total = 0;
  for (const nghttp2_nv& f : fields) total += f.namelen + f.valuelen + 32;
  EXPECT_LT(total, 8192u);
  EXPECT_EQ(value_of(fields, "grpc-status"), "13");
}

TEST(ResponseHeadTest, DetailsThatFitAreSent) {
  HeadScratch scratch;
  ResponseHead head(scratch);
  Metadata metadata{{"k-bin", "\x01"}};  // fields point into it
  auto fields = head.trailers({Code::kAborted, "m", "details"}, metadata);
  EXPECT_EQ(value_of(fields, "grpc-status-details-bin"), "ZGV0YWlscw");
  EXPECT_EQ(value_of(fields, "k-bin"), "AQ");
  EXPECT_EQ(value_of(fields, "grpc-message"), "m");
}

TEST(ResponseHeadTest, TrailersOnlyCarriesHttpStatusAndContentType) {
  HeadScratch scratch;
  ResponseHead head(scratch);
  auto fields = head.trailers_only({Code::kNotFound, ""}, {});
  EXPECT_EQ(value_of(fields, ":status"), "200");
  EXPECT_EQ(value_of(fields, "content-type"), "application/grpc");
  EXPECT_EQ(value_of(fields, "grpc-status"), "5");
  EXPECT_EQ(value_of(fields, "grpc-message"), "(absent)");
}

}  // namespace
}  // namespace loader::grpc
