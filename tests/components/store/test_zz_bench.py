import sys; sys.path.insert(0,'/tmp')
def test_b(database,tmp_path):
    import store_bench; store_bench.main(database,tmp_path)
