/* Probes' and hooks' actions against servers of our own on the loopback. */
#include "gate/action.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "above.h"
#include "harness.h"

struct site {
    struct above a;
    struct http_server *server;
    uint16_t port;
    int asked;
    char agent[64], path[64], host[64];
    uint8_t grpc;                 /* ServingStatus; 255: UNIMPLEMENTED, as a server without the service says it */
    char service[64];
    /* the outcome */
    bool ended, good, redirected;
    int status;
    char error[256], body[64];
};

static void put_z(char *to, size_t n, struct str s)
{
    snprintf(to, n, "%.*s", STR_ARG(s));
}

static void on_health_body(struct http_req *rq, struct str body)
{
    struct site *s = rq->user;
    static const struct http_header type = {{"content-type", 12}, {"application/grpc", 16}};
    if (body.n > 7)
        put_z(s->service, sizeof s->service, str_sub(body, 7, body.n));
    char reply[7] = {0, 0, 0, 0, 2, 0x08, (char)s->grpc};
    http_start(rq, 200, &type, 1);
    if (s->grpc != 255)
        http_send_str(rq, str_make(reply, sizeof reply));
    http_end(rq);
}

static void serve(struct http_req *rq, void *arg)
{
    struct site *s = arg;
    s->asked++;
    put_z(s->agent, sizeof s->agent, http_header(rq, STR("user-agent")));
    put_z(s->path, sizeof s->path, rq->path);
    put_z(s->host, sizeof s->host, http_header(rq, STR("host")));
    struct http_header away = {STR("location"), STR("http://elsewhere.example/x")}, here = {STR("location"), STR("final")};
    if (str_eqz(rq->path, "/grpc.health.v1.Health/Check")) {
        rq->user = s;
        http_body(rq, 0, on_health_body);
    } else if (str_eqz(rq->path, "/away")) {
        http_reply(rq, 302, &away, 1, NULL);
    } else if (str_eqz(rq->path, "/dir/here")) {
        http_reply(rq, 302, &here, 1, NULL);
    } else if (str_eqz(rq->path, "/loop")) {
        here.value = STR("/loop");
        http_reply(rq, 301, &here, 1, NULL);
    } else if (str_eqz(rq->path, "/broken")) {
        http_reply_str(rq, 503, "text/plain", STR("sorry"));
    } else {
        http_reply_str(rq, 200, "text/plain", STR("fine"));
    }
}

static void site_open(struct site *s)
{
    struct err *e = NULL;
    *s = (struct site){0};
    above_open(&s->a);
    struct sockaddr_in in;
    socklen_t n = sizeof in;
    int fd = http_bind("127.0.0.1:0", 16, &e);
    OK(fd >= 0);
    EQ(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    s->port = ntohs(in.sin_port);
    s->server = http_server_new(s->a.gate.loop, NULL, serve, s);
    FINE(http_listen(s->server, fd, NULL, &e), e);
    s->a.state.ip = STR("127.0.0.1");
}

static void site_close(struct site *s)
{
    http_server_free(s->server);
    above_close(&s->a);
}

static void on_done(void *arg, const struct action_result *r)
{
    struct site *s = arg;
    s->ended = true;
    s->good = r->good;
    s->redirected = r->redirected;
    s->status = r->status;
    snprintf(s->error, sizeof s->error, "%s", r->error ? r->error : "");
    put_z(s->body, sizeof s->body, r->body);
}

/* %d in the text is the server's port. */
static void act(struct site *s, const char *handler)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *con, *tree;
    struct err *e = NULL;
    struct str text = pool_printf(p, "{\"name\":\"app\",\"ports\":[{\"name\":\"web\",\"containerPort\":%u}]}", s->port);
    FINE(json_parse(p, text, NULL, &con, &e), e);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    for (const char *c = handler; *c; c++)
        if (*c == '@')
            buf_printf(&b, "%u", s->port);
        else
            buf_putc(&b, *c);
    FINE(json_parse(p, buf_str(&b), NULL, &tree, &e), e);
    s->ended = false;
    s->asked = 0;
    struct action_spec spec = {&s->a.pod, con, tree, 5 * NS_PER_S, "kube-probe/1.36"};
    action_start(&spec, on_done, s);
    OK(!s->ended); /* never from within */
    OK(above_until(&s->a, &s->ended, 10000));
}

TEST(an_http_action_reaches_the_pods_address_by_number_and_by_name_of_port)
{
    struct site s;
    site_open(&s);
    act(&s, "{\"httpGet\":{\"port\":@,\"path\":\"/healthz?full=1\"}}");
    OK(s.good);
    EQ(s.status, 200);
    EQ_Z(s.body, "fine");
    EQ_Z(s.agent, "kube-probe/1.36");
    act(&s, "{\"httpGet\":{\"port\":\"web\",\"path\":\"broken\"}}");
    OK(!s.good);
    EQ(s.status, 503);
    EQ_Z(s.error, ""); /* it answered: a hook is content with that */
    act(&s, "{\"httpGet\":{\"port\":\"nosuch\"}}");
    OK(!s.good);
    OK(strstr(s.error, "port"));
    act(&s, "{\"httpGet\":{\"port\":@,\"httpHeaders\":[{\"name\":\"Host\",\"value\":\"shop.example\"},{\"name\":\"User-Agent\",\"value\":\"mine\"}]}}");
    EQ_Z(s.host, "shop.example");
    EQ_Z(s.agent, "mine");
    site_close(&s);
}

TEST(a_redirect_is_followed_at_home_and_is_an_answer_when_it_leads_away)
{
    struct site s;
    site_open(&s);
    act(&s, "{\"httpGet\":{\"port\":@,\"path\":\"/dir/here\"}}");
    OK(s.good && !s.redirected);
    EQ_Z(s.path, "/dir/final");
    act(&s, "{\"httpGet\":{\"port\":@,\"path\":\"/away\"}}");
    OK(s.good && s.redirected);
    EQ(s.status, 302);
    act(&s, "{\"httpGet\":{\"port\":@,\"path\":\"/loop\"}}");
    OK(!s.good);
    EQ(s.asked, 11);
    OK(strstr(s.error, "10 redirects"));
    site_close(&s);
}

TEST(tcp_actions_tell_open_from_closed)
{
    struct site s;
    site_open(&s);
    act(&s, "{\"tcpSocket\":{\"port\":@}}");
    OK(s.good);
    int fd = http_bind("127.0.0.1:0", 1, NULL);
    struct sockaddr_in in;
    socklen_t n = sizeof in;
    EQ(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    close(fd);
    char text[64];
    snprintf(text, sizeof text, "{\"tcpSocket\":{\"port\":%u}}", ntohs(in.sin_port));
    act(&s, text);
    OK(!s.good);
    OK(strlen(s.error) > 0);
    act(&s, "{}");
    OK(strstr(s.error, "invalid handler"));
    site_close(&s);
}

TEST(grpc_actions_ask_the_health_service)
{
    struct site s;
    site_open(&s);
    s.grpc = 1;
    act(&s, "{\"grpc\":{\"port\":@,\"service\":\"shop.v1\"}}");
    OK(s.good);
    EQ_Z(s.service, "shop.v1");
    s.grpc = 2;
    act(&s, "{\"grpc\":{\"port\":@}}");
    OK(!s.good);
    OK(strstr(s.error, "NOT_SERVING"));
    s.grpc = 255;
    act(&s, "{\"grpc\":{\"port\":@}}");
    OK(!s.good);
    OK(strstr(s.error, "does not implement"));
    site_close(&s);
}
