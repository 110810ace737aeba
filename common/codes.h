/* Response codes of RocketMQ, as rows: what the wire answers, and what a fault says of itself (fault.h).
 * Source: Apache ResponseCode.java, RemotingSysResponseCode.java (5.5.0). */
#ifndef COMMON_CODES_H
#define COMMON_CODES_H

#define RESPONSE_CODES(X) \
    X(0, SUCCESS) \
    X(1, SYSTEM_ERROR) \
    X(2, SYSTEM_BUSY) \
    X(3, REQUEST_CODE_NOT_SUPPORTED) \
    X(4, TRANSACTION_FAILED) \
    X(10, FLUSH_DISK_TIMEOUT) \
    X(11, SLAVE_NOT_AVAILABLE) \
    X(12, FLUSH_SLAVE_TIMEOUT) \
    X(13, MESSAGE_ILLEGAL) \
    X(14, SERVICE_NOT_AVAILABLE) \
    X(15, VERSION_NOT_SUPPORTED) \
    X(16, NO_PERMISSION) \
    X(17, TOPIC_NOT_EXIST) \
    X(18, TOPIC_EXIST_ALREADY) \
    X(19, PULL_NOT_FOUND) \
    X(20, PULL_RETRY_IMMEDIATELY) \
    X(21, PULL_OFFSET_MOVED) \
    X(22, QUERY_NOT_FOUND) \
    X(23, SUBSCRIPTION_PARSE_FAILED) \
    X(24, SUBSCRIPTION_NOT_EXIST) \
    X(25, SUBSCRIPTION_NOT_LATEST) \
    X(26, SUBSCRIPTION_GROUP_NOT_EXIST) \
    X(27, FILTER_DATA_NOT_EXIST) \
    X(28, FILTER_DATA_NOT_LATEST) \
    X(29, INVALID_PARAMETER) \
    X(206, CONSUMER_NOT_ONLINE) \
    X(207, CONSUME_MSG_TIMEOUT) \
    X(208, NO_MESSAGE) \
    X(209, POLLING_FULL) \
    X(210, POLLING_TIMEOUT) \
    X(215, FLOW_CONTROL) \
    X(501, NOT_LEADER_FOR_QUEUE) \
    X(604, ILLEGAL_OPERATION) \
    X(1500, GO_AWAY)

enum response_code {
#define X(code, name) RC_##name = code,
    RESPONSE_CODES(X)
#undef X
};
const char *response_code_name(int code);      /* "UNKNOWN" for others */

#endif
