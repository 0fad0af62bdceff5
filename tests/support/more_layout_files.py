"""Small files of our own making in the other known layouts."""

from tests.support.layout_files import LayoutCase, json_lines, lines, untitled

SHA = "00000c289a1829a808ac09c00daf10bc3c4e223b"
CASES = {
    "lastfm-1k": LayoutCase(
        "Last.fm",
        {
            "userid-timestamp-artid-artname-traid-traname.tsv": lines(
                "user_000001\t2009-05-04T23:08:57Z\tf1b1cf71-bd35-4e99-8624-24a6e15f133a\tDeep Dish\t\tI Am \"Famous\"",
                "user_000001\t2009-05-04T13:54:10Z\ta7f7df4a-77d8-4f12-8acd-5c60c93f4de8\t坂本龍一\tb1\tComposition",
            )
        },
        {
            ("user_000001", 'I Am "Famous"', "view", None, "2009-05-04 23:08:57"),
            ("user_000001", "b1", "view", None, "2009-05-04 13:54:10"),
        },
        {'I Am "Famous"': ('I Am "Famous"', ["Deep Dish"]), "b1": ("Composition", ["坂本龍一"])},
    ),
    "lastfm-360k": LayoutCase(
        "Last.fm",
        {
            "usersha1-artmbid-artname-plays.tsv": lines(
                f"{SHA}\t3bd73256-3905-4f3a-97e2-8b341527f805\tbetty blowtorch\t2137", f"{SHA}\t\tdie Ärzte\t1099"
            )
        },
        {
            (SHA, "3bd73256-3905-4f3a-97e2-8b341527f805", "view", 2137.0, "2008-11-01 00:00:00"),
            (SHA, "die Ärzte", "view", 1099.0, "2008-11-01 00:00:00"),
        },
        {"3bd73256-3905-4f3a-97e2-8b341527f805": ("betty blowtorch", []), "die Ärzte": ("die Ärzte", [])},
    ),
    "lastfm-hetrec": LayoutCase(
        "Last.fm",
        {
            "user_artists.dat": lines("userID\tartistID\tweight", "8002\t5051\t13883"),
            "artists.dat": lines(
                "id\tname\turl\tpictureURL", "5051\tDuran \"D2\" Duran\thttp://www.last.fm/music/D\thttp://u/5051.jpg",
                "5052\tMorcheeba\thttp://www.last.fm/music/M\t",
            ),
        },
        {("8002", "5051", "view", 13883.0, "2011-05-01 00:00:00")},
        {"5051": ('Duran "D2" Duran', []), "5052": ("Morcheeba", [])},
    ),
    "lastfm-tags": LayoutCase(
        "Last.fm",
        {
            "user_taggedartists-timestamps.dat": lines(
                "userID\tartistID\ttagID\ttimestamp",
                "8012\t5061\t13\t1238536800000",
            )
        },
        {("8012", "5061", "comment", None, "2009-03-31 22:00:00")},
        untitled("5061"),
    ),
    "mind": LayoutCase(
        "MIND",
        {
            "behaviors.tsv": lines(
                "1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN55689-1 N35729-0",
                "2\tU91836\t11/12/2019 6:11:30 PM\t\tN35729-1 N55689-0",
            ),
            "news.tsv": lines(
                'N55689\tsports\tfootball_nfl\tCharles Rogers, "WR"\tAbstract\thttps://x\t[{"Label": "R"}]\t[]',
                "N35729\tnews\tworld\tPorsche launches\t\thttps://y\t[]\t[]",
            ),
        },
        {
            ("U13740", "N55689", "click", None, "2019-11-11 09:05:58"),
            ("U91836", "N35729", "click", None, "2019-11-12 18:11:30"),
        },
        {
            "N55689": ('Charles Rogers, "WR"', ["sports", "football_nfl"]),
            "N35729": ("Porsche launches", ["news", "world"]),
        },
        {"ignored": 2},
    ),
    "kuairec": LayoutCase(
        "KuaiRec",
        {
            "big_matrix.csv": lines(
                "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio",
                "6000,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.273397",
            ),
            "item_categories.csv": lines("video_id,feat", "3649,[8]", '3650,"[27, 9]"'),
        },
        {("6000", "3649", "view", 1.273397, "2020-07-04 16:08:23.438")},
        {"3649": ("", ["8"]), "3650": ("", ["27", "9"])},
    ),
    "kuairand": LayoutCase(
        "KuaiRand",
        {
            "log_standard_4_22_to_5_08_1k.csv": lines(
                "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,"
                "long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab",
                "6100,4260501,20220422,700,1650582111001,1,0,0,0,0,0,1,9500,11300,0,0,0,0,1",
                "6100,4260502,20220422,700,1650582123001,1,1,0,0,0,0,1,0,11300,0,0,0,0,1",
                "6100,4260502,20220422,700,1650582143001,0,0,0,0,0,0,0,0,11300,0,0,0,0,1",
            ),
            "video_features_basic_1k.csv": lines(
                "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,"
                "server_height,music_id,music_type,tag",
                '4260501,1,NORMAL,2022-04-19,LongImport,1.0,11300.0,720,1280,5,9.0,"3,27"',
                "4260502,2,AD,2022-04-20,Web,1.0,11300.0,720,1280,5,9.0,34",
            ),
        },
        {
            ("6100", "4260501", "click", 9.5, "2022-04-21 23:01:51.001"),
            ("6100", "4260502", "like", 0.0, "2022-04-21 23:02:03.001"),
        },
        {"4260501": ("", ["3", "27"]), "4260502": ("", ["34"])},
        {"ignored": 1},
    ),
    "online-retail": LayoutCase(
        "Online Retail",
        {
            "Online Retail.csv": lines(
                "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
                "536365,85123A,WHITE HANGING HEART,6,12/1/2010 8:26,2.55,17850.0,United Kingdom",
                "536370,22728,ALARM CLOCK,24,12/13/2010 8:45,3.75,12583,France",
                "C536391,22556,PLASTERS,-12,12/1/2010 10:24,1.65,17548.0,United Kingdom",
            )
        },
        {
            ("17850", "85123A", "purchase", 6.0, "2010-12-01 08:26:00"),
            ("12583", "22728", "purchase", 24.0, "2010-12-13 08:45:00"),
        },
        {"85123A": ("WHITE HANGING HEART", []), "22728": ("ALARM CLOCK", []), "22556": ("PLASTERS", [])},
        {"return": 1},
    ),
    "online-retail-2": LayoutCase(
        "Online Retail",
        {
            "online_retail_II.csv": lines(
                "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
                '489434,79323P,"PINK CHERRY LIGHTS",12,2009-12-01 07:45:00,6.75,13085.0,United Kingdom',
            )
        },
        {("13085", "79323P", "purchase", 12.0, "2009-12-01 07:45:00")},
        {"79323P": ("PINK CHERRY LIGHTS", [])},
    ),
    "recbole": LayoutCase(
        None,
        {
            "ml.inter": lines(
                "user_id:token\titem_id:token\trating:float\ttimestamp:float",
                "6201\t4301\t3\t881250949",
            ),
            "ml.item": lines(
                "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
                "4301\tKolya\t1996\tComedy", "4302\tHoliday Inn\t1942\tMusical",
            ),
        },
        {("6201", "4301", "rating", 3.0, "1997-12-04 15:55:49")},
        {"4301": ("Kolya", ["Comedy"]), "4302": ("Holiday Inn", ["Musical"])},
    ),
    "gorse": LayoutCase(
        "Gorse",
        {
            "feedback.csv": lines(
                "feedback_type,user_id,item_id,time_stamp", "star,gorse-u,gorse-a,2022-01-02 03:04:05+00:00",
                "read,gorse-u,gorse-b,2022-01-02T03:04:06Z",
            ),
            "items.csv": lines(
                "item_id,is_hidden,categories,time_stamp,labels,description",
                'gorse-a,false,web,2021-01-01 00:00:00+00:00,"[""go"",""api""]",Framework',
                "gorse-b,false,web,2021-01-01 00:00:00+00:00,[],Library",
            ),
        },
        {
            ("gorse-u", "gorse-a", "like", None, "2022-01-02 03:04:05"),
            ("gorse-u", "gorse-b", "view", None, "2022-01-02 03:04:06"),
        },
        {"gorse-a": ("Framework", ["web", "go", "api"]), "gorse-b": ("Library", ["web"])},
    ),
    "gorse-json": LayoutCase(
        "Gorse",
        {
            "feedback.jsonl": json_lines(
                {"FeedbackType": "like", "UserId": "gorse-v", "ItemId": "gorse-c", "Timestamp": "2022-01-02T03:04:05Z"}
            ),
            "items.jsonl": json_lines(
                {
                    "ItemId": "gorse-c", "IsHidden": False, "Categories": ["web"],
                    "Timestamp": "2021-01-01T00:00:00Z", "Labels": {"topics": ["x"]}, "Comment": "Server",
                }
            ),
        },
        {("gorse-v", "gorse-c", "like", None, "2022-01-02 03:04:05")},
        {"gorse-c": ("Server", ["web", "x"])},
    ),
    "ga4": LayoutCase(
        "GA4",
        {
            "events_20210131.json": json_lines(
                {
                    "event_date": "20210131", "event_timestamp": "1612069510766593", "event_name": "add_to_cart",
                    "user_pseudo_id": "1026454.4271112504", "event_params": [{"key": "p", "value": {"int_value": "1"}}],
                    "items": [
                        {"item_id": "ga-1", "item_name": "Tee", "item_category": "Apparel", "quantity": 2},
                        {"item_id": "ga-2", "item_name": "Cap", "item_category": "Hats"},
                    ],
                },
                {
                    "event_date": "20210131", "event_timestamp": "1612069510766594", "event_name": "session_start",
                    "user_pseudo_id": "1026454.4271112504", "event_params": [], "items": [],
                },
            )
        },
        {
            ("1026454.4271112504", "ga-1", "cart", 2.0, "2021-01-31 05:05:10.766593"),
            ("1026454.4271112504", "ga-2", "cart", None, "2021-01-31 05:05:10.766593"),
        },
        {"ga-1": ("Tee", ["Apparel"]), "ga-2": ("Cap", ["Hats"])},
        {"ignored": 1},
    ),
    "segment": LayoutCase(
        "Segment",
        {
            "tracks.json": json_lines(
                {
                    "messageId": "ajs-1", "anonymousId": "anon-1", "userId": None, "type": "track",
                    "event": "Product Viewed", "timestamp": "2021-02-03T04:05:06.789Z",
                    "properties": {"product_id": "507f1f77", "name": "Monopoly", "category": "Games", "price": 18.99},
                },
                {
                    "messageId": "ajs-2", "anonymousId": "anon-1", "userId": "seg-user", "type": "track",
                    "event": "Product Added", "timestamp": "2021-02-03T04:06:06.789Z",
                    "properties": {"product_id": "505bd76785", "name": "UNO", "category": "Games", "quantity": 1},
                },
            )
        },
        {
            ("anon-1", "507f1f77", "view", None, "2021-02-03 04:05:06.789"),
            ("seg-user", "505bd76785", "cart", 1.0, "2021-02-03 04:06:06.789"),
        },
        {"507f1f77": ("Monopoly", ["Games"]), "505bd76785": ("UNO", ["Games"])},
    ),
    "segment-warehouse": LayoutCase(
        "Segment",
        {
            "product_viewed.csv": lines(
                "id,anonymous_id,user_id,event,event_text,original_timestamp,product_id",
                "ajs-9,anon-9,,product_viewed,Product Viewed,2021-02-03 04:05:06.789,seg-p",
            )
        },
        {("anon-9", "seg-p", "view", None, "2021-02-03 04:05:06.789")},
        untitled("seg-p"),
    ),
    "shopify": LayoutCase(
        "Shopify orders",
        {
            "orders_export.csv": lines(
                "Name,Email,Financial Status,Paid at,Currency,Total,Created at,Lineitem quantity,Lineitem name,"
                "Lineitem price,Lineitem sku,Vendor",
                "#1002,ann@shop.example,paid,2021-03-04 10:00:00 +0100,EUR,30.00,2021-03-04 09:59:00 +0100,2,"
                '"Mug, blue",10.00,MUG-1,Potter',
                "#1002,ann@shop.example,,,,,2021-03-04 09:59:00 +0100,1,Plate,10.00,,Potter",
            )
        },
        {
            ("ann@shop.example", "MUG-1", "purchase", 2.0, "2021-03-04 08:59:00"),
            ("ann@shop.example", "Plate", "purchase", 1.0, "2021-03-04 08:59:00"),
        },
        {"MUG-1": ("Mug, blue", ["Potter"]), "Plate": ("Plate", ["Potter"])},
    ),
    "shopify-products": LayoutCase(
        "Shopify orders",
        {
            "products_export.csv": lines(
                "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Variant SKU,Image Src",
                'blue-mug,Blue mug,"<p>A <b>mug</b></p>",Potter,Home > Mugs,blue,TRUE,Size,MUG-1-S,http://i/1.png',
                "blue-mug,,,,,,,,MUG-1-L,http://i/2.png",
            )
        },
        set(),
        {"blue-mug": ("Blue mug", ["Home", "Mugs", "blue"])},
    ),
}  # fmt: skip
